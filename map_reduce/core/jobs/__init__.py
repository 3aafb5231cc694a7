"""Jobs without a head: what of a job outlives its master, and who takes over.

A job's state lies in records of the ring (``core/registers``), its *ledger*::

    <id>                the job itself: how it was cut, and how it ended; its lease names the master
    <id>/maps/<n>       shard n of the map tasks: which attempt won each, where its output lies
    <id>/finals/<n>     shard n of the tasks whose outputs are the result

    state.py       the values of these records
    watch.py       when somebody else than the master is to take over: decided by each holder
"""
