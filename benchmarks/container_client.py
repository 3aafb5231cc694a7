"""The client of the fault table: count the words of a file on the cluster that is found.

python benchmarks/container_client.py FILE

Prints the job's id as soon as it has one, and, at the end, the digest of what was counted.
"""

from __future__ import annotations

import json
import sys

import measure
import words
from map_reduce.client.server_interface import ServerInterface
from map_reduce.job import Files


def main(path: str) -> None:
    with ServerInterface(progress=False) as server:
        job = server.startup(Files(path), words.map, words.reduce, combine=words.reduce)
        print(json.dumps({"job": job.id}), flush=True)
        measure.report(job.result())


if __name__ == "__main__":
    main(sys.argv[1])
