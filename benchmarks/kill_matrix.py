"""Who dies when, and whether the job's answer is still that of the sequential run.

    python benchmarks/kill_matrix.py [--times 20] [--rings 2] [--rows kill_matrix.csv]
                                     [--victims …] [--moments …] [--table]

For each cell of the table, so many jobs on a ring of five real node processes: the job runs up to
the moment, where its functions wait (``points.py``); the victim gets SIGKILL; the job goes on, and
its results are compared with those of one loop. Then the dead are started again, and the next job
begins once the ring is ideal and every block has all its copies.

Victims:   worker      a worker process that is in the middle of a task
           node        a node that is not the job's master; one with a task, where there is one
           master      the job's master
           output      a node that holds a map output, of which there is one copy
           input       a node that owns an input block, and is not the master
           client      the process that submitted the job; another one attaches to it
           two         two nodes of the five at the same instant, whichever
           all but one four of the five one after another; before each a new node joins, and the
                       next dies when the ring has made its copies and moved the job's records
           majority    three nodes of the five at the same instant, which have data folders and are
                       started again once the job says that it waits for them (or has ended)
Moments:   submit      the client has stored half of the input
           map         some map tasks are done, every slot is in the middle of one
           between     a moment after the last map task has ended
           reduce      every slot is in the middle of a reduce task, as many wait behind them
           commit      a moment after reduce tasks have begun to put out their results
           fetch       the client has fetched the first of ten parts of the results

``-``: there is no such victim then. Each cell says how many jobs gave the right answer, and the
median time from the death to the result, in seconds.

What comes of each job is added to the file of rows, and what is there already is not done again; so
the program may be stopped and started as one likes. All cells are filled equally: two jobs of each,
then two more. Of a job that was not right, a folder beside the rows keeps what the ring was asked
and the nodes' log, with what each of their threads was at.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matrix_rows
import measure
import points
from map_reduce.testing import sequential
from matrix_jobs import MOMENTS, NONE, VICTIMS, Matrix, NotThere
from matrix_rows import Row
from points import Points

JOBS_A_ROUND = 2
TRIES_MAX = 3
"""For a job whose moment did not come: it is not counted."""


def fill(victim: str, moments: list[str], upto: int, seed: int, rows: Path) -> None:
    """Jobs on a ring of their own, until each cell of the victim has so many."""
    counts = matrix_rows.done(matrix_rows.read(rows))
    if all(counts[victim, moment] >= upto for moment in moments):
        return
    expected = points.texts(
        sequential(points.items(), *points.functions(Points(Path(), "none", 0)))
    )
    matrix = Matrix(seed, expected, victim)
    try:
        for moment in moments:
            for _ in range(counts[victim, moment], upto):
                one(matrix, victim, moment, rows)
    finally:
        matrix.close()


def one(matrix: Matrix, victim: str, moment: str, rows: Path) -> None:
    """One job, its row, and the ring whole again."""
    for _ in range(TRIES_MAX):
        at = datetime.datetime.now(datetime.timezone.utc).strftime("%H%M%S")
        evidence = rows.with_suffix("") / f"{victim}-{moment}-{at}".replace(" ", "-")
        took_s, problem = 0.0, ""
        try:
            took_s, problem = matrix.run(victim, moment, evidence)
        except NotThere as error:
            print(f"    not counted: {error}", file=sys.stderr, flush=True)
            matrix.renew()  # what is left of that job may be in the slots
            continue
        if problem:
            matrix.renew()
        else:
            problem = matrix.heal(evidence)
        kept = evidence.name if problem else ""
        row = Row(at, victim, moment, round(took_s, 2), os.getloadavg()[0], problem, kept)
        matrix_rows.append(rows, row)
        print(f"{victim} / {moment}: {problem or took_s}", file=sys.stderr, flush=True)
        return


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--rings", type=int, default=1, help="so many at a time")
    parser.add_argument("--rows", type=Path, default=Path("kill_matrix.csv"))
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=list(MOMENTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="show what was done; do nothing")
    options = parser.parse_args()
    print(measure.describe_machine(), flush=True)
    if not options.table:
        rounds = range(JOBS_A_ROUND, options.times + JOBS_A_ROUND, JOBS_A_ROUND)
        spawned = multiprocessing.get_context("spawn")  # so that no ring's pipes are inherited
        with ProcessPoolExecutor(options.rings, mp_context=spawned) as pool:
            pending = []
            for upto in rounds:
                for victim in options.victims:
                    moments = [one for one in options.moments if (victim, one) not in NONE]
                    times, seed = min(upto, options.times), options.seed * 1000 + upto
                    rows = options.rows.absolute()
                    pending.append(pool.submit(fill, victim, moments, times, seed, rows))
            for unit in as_completed(pending):
                if (error := unit.exception()) is not None:
                    print(f"a ring was given up: {error}", file=sys.stderr, flush=True)
    rows = matrix_rows.read(options.rows)
    print(matrix_rows.table(rows, options.victims, options.moments))
    return 1 if any(row.problem for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
