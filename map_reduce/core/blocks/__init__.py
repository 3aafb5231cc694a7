"""Storing and reading blocks, and moving them between two nodes.

A block is immutable bytes under a name, with their digest; it travels in pieces. What happens to
it later, when members come and go, is ``core/repair``'s. The procedures here and there decide;
whatever has to do with bytes at rest, or with time, they ask of their driver, by yielding one of
the effects of ``effects.py``: so the pure core sees pieces pass and keeps none, and the simulator
drives the same code over simulated disks.

    writing.py   to a majority of the replica group, then it is acknowledged
    reading.py   from the first member that gives the bytes of the digest
    copying.py   one block from here to there, or from there to here
"""
