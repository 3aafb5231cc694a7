"""A process with a worker pool, for tests that end it: ``miniature_node.py WORK GATE SCRATCH``.

The work is a function of ``worker_orders``; that it runs is told at the gate. On "fork" from
standard input it forks and prints the child's number; after Ctrl-C it closes the pool and
prints "closed"; else it is there until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import worker_orders
from worker_orders import NODE, Gate, order, start, telling

from map_reduce.workers.births import Births
from map_reduce.workers.launch import Launch
from map_reduce.workers.pool import ProcessWorkerPool


def main(work: str, gate: str, scratch: str) -> None:
    births = Births(Launch(NODE, 0, Path(scratch)))
    pool = ProcessWorkerPool(2, births, tasks_per_worker_max=100, warm=2)
    start(pool, order(telling(Gate(gate), getattr(worker_orders, work)), [0]))
    try:
        for line in sys.stdin:
            if line == "fork\n":
                child = os.fork()
                if child == 0:
                    signal.pause()
                print(child, flush=True)
    except KeyboardInterrupt:
        pool.close()
        print("closed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
