"""Rings with blocks on one thread, in virtual time, under faults, decided by one seed.

The ring is the one of ``map_reduce/simulation``; its nodes have disks, and drive the procedures of
``core/blocks`` and ``core/repair`` unchanged. Read it in this order::

    plan.py      what happens from outside, as data: puts, reads, ends of jobs, faults
    disk.py      a disk, and the store that a process opens on it
    driving.py   carries out what the procedures ask for
    process.py   a node
    world.py     all nodes, and their disks
    judge.py     what must hold, whenever a copy comes or goes, and after quiet
    run.py       a plan, carried out and judged
    mutants.py   the block layer with one rule taken out, for proof that the judge can fail

``python -m map_reduce.simulation.blocks --help`` runs seeds.
"""
