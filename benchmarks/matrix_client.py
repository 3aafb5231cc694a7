"""The client of ``kill_matrix.py`` that is itself the victim: a process of its own.

    python benchmarks/matrix_client.py FOLDER POINT HOST:PORT

Submits the job of ``points.py``, which waits at POINT, writes the job's id to FOLDER/job, and waits
for the job's end, and then for its own, which may come late: so it fetches results only where that
is the point, since what is fetched whole is released.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import points
from map_reduce import ServerInterface

LIFE_S_MAX = 600.0


def main() -> None:
    folder, point, address = sys.argv[1:]
    at = points.Points(Path(folder), point, os.getpid())
    with ServerInterface(address, quiet=True) as server:
        job = server.startup(points.items(), *points.functions(at))
        unfinished = Path(folder, "job.part")
        unfinished.write_text(job.id)
        unfinished.rename(Path(folder, "job"))
        if point == "fetch":
            job.result()
        job.wait()
        threading.Event().wait(LIFE_S_MAX)


if __name__ == "__main__":
    main()
