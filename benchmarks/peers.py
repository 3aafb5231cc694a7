"""Other libraries as contenders, each used as its own documentation does.

    python benchmarks/peers.py available       which can be imported here, as JSON
    python benchmarks/peers.py NAME FILE       count the words of the file
    python benchmarks/peers.py snippet -       the README's three lines on a Dask LocalCluster
    python benchmarks/peers.py lines RUNS      the same on a warm one, RUNS times, as JSON

This file runs in an interpreter that has the libraries, which need not have map-reduce.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import operator
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import measure
import reference
import words

LINES = ["hello world", "hello distributed computing", "world of mapreduce"]
MODULES = {
    "dask-bag": "dask.bag",
    "dask-cluster": "distributed",
    "joblib": "joblib",
    "ray": "ray",
    "spark": "pyspark",
}


def split(line: str) -> list[str]:
    return line.split()


def count_range(path: str, start: int, end: int) -> dict[str, int]:
    """The words of a byte range of whole lines, for the libraries that have no keyed reduce."""
    counts: dict[str, int] = {}
    with open(path, "rb") as file:
        file.seek(start)
        for line in file.read(end - start).decode().split("\n"):
            for word, number in words.map(0, line):
                counts[word] = counts.get(word, 0) + number
    return counts


def merge(parts: list[dict[str, int]]) -> dict[str, int]:
    whole: dict[str, int] = {}
    for part in parts:
        for word, number in part.items():
            whole[word] = whole.get(word, 0) + number
    return whole


def dask_bag(path: str) -> dict[str, int]:
    import dask
    import dask.bag

    lines = dask.bag.read_text(path, blocksize="4MB")
    with dask.config.set(scheduler="processes", num_workers=measure.processors()):
        return dict(lines.map(split).flatten().frequencies().compute())


@contextlib.contextmanager
def dask_local_cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=measure.processors(),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def dask_cluster(path: str) -> dict[str, int]:
    import dask.bag

    with dask_local_cluster():
        lines = dask.bag.read_text(path, blocksize="4MB")
        return dict(lines.map(split).flatten().frequencies().compute())


def joblib(path: str) -> dict[str, int]:
    import joblib

    count = joblib.delayed(count_range)
    ranges = reference.byte_ranges(path)
    with joblib.Parallel(n_jobs=measure.processors()) as parallel:
        return merge(parallel(count(path, start, end) for start, end in ranges))


def ray(path: str) -> dict[str, int]:
    import ray

    ray.init(
        num_cpus=measure.processors(),
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    count = ray.remote(count_range)
    ranges = reference.byte_ranges(path)
    parts = ray.get([count.remote(path, start, end) for start, end in ranges])
    counts = merge(parts)
    ray.shutdown()
    return counts


def spark(path: str) -> dict[str, int]:
    from pyspark import SparkConf, SparkContext

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.master": f"local[{measure.processors()}]",
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
    }
    context = SparkContext(conf=SparkConf().setAll(list(settings.items())))
    context.setLogLevel("ERROR")
    pairs = context.textFile(path).flatMap(split).map(lambda word: (word, 1))
    counts: dict[str, int] = pairs.reduceByKey(operator.add).collectAsMap()
    context.stop()
    return counts


CONTENDERS = {
    "dask-bag": dask_bag,
    "dask-cluster": dask_cluster,
    "joblib": joblib,
    "ray": ray,
    "spark": spark,
}


def available() -> list[str]:
    """Those whose package is there; none of them is imported for that."""
    return [
        name
        for name, module in MODULES.items()
        if importlib.util.find_spec(module.partition(".")[0]) is not None
    ]


def count_three_lines() -> dict[str, int]:
    import dask.bag

    lines = dask.bag.from_sequence(LINES)
    return dict(lines.map(split).flatten().frequencies().compute())


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "available":
        print(json.dumps(available()))
    elif what == "snippet":
        with dask_local_cluster():
            print("Word counts:", count_three_lines(), flush=True)
    elif what == "lines":
        times_s = []
        with dask_local_cluster():
            for _ in range(int(rest[0]) + 1):
                before = time.perf_counter()
                count_three_lines()
                times_s.append(time.perf_counter() - before)
        print(json.dumps(times_s[1:]))
    else:
        measure.report(CONTENDERS[what](rest[0]))


if __name__ == "__main__":
    main()
