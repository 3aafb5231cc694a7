"""How a reduce task's sources get to its node: which requests, and how large they are.

Theory of operation
===================

A reduce task reads a range of every map output: as many *sources* as there are map tasks, from as
many nodes as have run some. Those of its own node it reads where they are. All others are brought
into one local file, whose layout is free, since each source's place in it is told to the reader::

    sources by number     0  1  2  3  4  5  6        their nodes   A B A A B A A
    local file          | 0 | 2 | 3 |  5  | 6 |  1  | 4 |
                        '-------- A ----------'-- B -----'
    requests            |------|------|-------|---|------|    runs of the file

So sources are grouped by node, and a request asks a node for a *run*: bytes that follow one another
in the file, whether they are of one source or of a thousand. What it costs to ask is then paid for
each run, not for each source, and what comes is written as it is. A run that fails is put back,
and may be cut otherwise when it is asked for again (``plan.py``).

How large runs are is learnt from how long they take, for each node that is asked (``pace.py``).

Several attempts fetch side by side, and each asks several nodes; how many requests are under way,
and whose turn it is, is the driver's (``runtime/shuffling.py``).
"""
