"""The figures of the Chord papers, measured on this library's own code.

One module for each claim, each a function from sizes and a seed to a table::

    table.py     rows, as text for people and as CSV for plots
    counting.py  what one lookup costs: members asked, and failed requests
    still.py     a large ring in which nobody does anything but answer
    paths.py     how many members a lookup asks, against log2 N / 2
    views.py     the same, and memory, where members know all others
    load.py      keys by node: hashing alone, virtual nodes, power of d choices
    failures.py  half of the ring gone at once: lookups, lost keys, time until it is whole
    churn.py     lookups while members come and go
    upkeep.py    messages and bytes that maintenance costs
    size.py      events each second, and memory, of the simulator itself

``python -m map_reduce.simulation.figures CLAIM`` prints them; what was measured, beside what the
papers say, stands in ``docs/figures.md``.
"""
