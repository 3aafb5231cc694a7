"""Whole jobs in virtual time: masters, nodes and records, under faults, decided by one seed.

What decides is the code of ``core``, unchanged: the scheduler, the nodes' memory of their masters
(``core/jobs/service.py``), the watchers' rules (``core/jobs/watch.py``), records with their
proposers and acceptors, the changes that leases allow. What drives them is written anew here, for
virtual time. What attempts do is made up, or is that of a user's functions.

    world.py    time, the network, processes as generators
    node.py     a node: its replica, its attempts, its watch
    master.py   the master of a job
    work.py     what attempts do
    plan.py     what happens to the nodes, drawn from a seed
    run.py      one run, and what must hold of it
    mutants.py  the same with one rule taken out
"""
