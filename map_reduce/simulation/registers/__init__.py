"""Records on one thread, in virtual time, under faults, decided by one seed.

The simulator drives the acceptors and proposers of ``core/registers`` unchanged. Read it in this
order::

    plan.py             what happens from outside, as data: operations, changes of members, faults
    world.py            virtual time, nodes, disks, and the delivery of messages
    judge.py            the invariants of records after every step
    linearizability.py  whether a history could have happened one operation after the other
    run.py              a plan, carried out and judged
    mutants.py          the protocol with one rule taken out, for proof that the judge can fail

``python -m map_reduce.simulation.registers --help`` runs seeds.
"""
