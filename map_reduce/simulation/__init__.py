"""Rings on one thread, in virtual time, under faults, decided by one seed.

The simulator drives the procedures of ``core/chord`` unchanged; it only stands where the runtime
and the network stand in production. Read it in this order::

    draws.py      randomness: one stream for each purpose, the same on every Python
    plan.py       what happens from outside, as data: joins, lookups, faults
    workload.py   draws the joins and lookups of a plan
    faults.py     draws the faults of a plan
    network.py    delay, loss, duplication, reordering, partitions
    process.py    one node: the maintenance loop, pauses, crashes
    settled.py    a ring as it is after a long quiet, without the way there
    world.py      virtual time, and the delivery of messages
    judge.py      the invariants after every step, and after quiet
    run.py        a plan, carried out and judged
    membership/   what the failure detector and the membership view are worth
    shrinking.py  the smallest plan that still fails
    small_member.py, small_ring.py, explore.py    every interleaving of a small ring
    mutants.py    the protocol with one guard taken out, for proof that the judge can fail
"""
