"""The yardstick: the word count as one would write it by hand, without a library.

    python benchmarks/reference.py processes FILE    multiprocessing, one process per processor
    python benchmarks/reference.py counter FILE      collections.Counter, one process

``processes`` is meant to be hard to beat. The parent counts too; everybody draws byte ranges of
the file from one queue and adds up in a dict of their own; the children's dicts cross a pipe as
one marshalled piece each; the garbage collector, which would walk millions of live objects, is
off. It calls the same ``map`` for every line as the other contenders.
"""

from __future__ import annotations

import collections
import gc
import marshal
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

import measure
import words

PIECE_BYTES = 2_000_000


def byte_ranges(path: str) -> list[tuple[int, int]]:
    """Start and end of pieces of whole lines that make up the file."""
    size = os.path.getsize(path)
    ranges = []
    start = 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(min(start + PIECE_BYTES, size))
            file.readline()
            ranges.append((start, file.tell()))
            start = file.tell()
    return ranges


def count_pieces(path: str, todo: Any) -> dict[str, int]:
    """Draw pieces from the queue until it gives None."""
    gc.disable()
    counts: collections.defaultdict[str, int] = collections.defaultdict(int)
    with open(path, "rb") as file:
        while (piece := todo.get()) is not None:
            start, end = piece
            file.seek(start)
            for line in file.read(end - start).decode().split("\n"):
                for word, number in words.map(0, line):
                    counts[word] += number
    return dict(counts)


def child(path: str, todo: Any, result: Connection) -> None:
    result.send_bytes(marshal.dumps(count_pieces(path, todo)))
    result.close()


def count_in_processes(path: str) -> dict[str, int]:
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    todo = context.SimpleQueue()
    children = []
    for _ in range(measure.processors() - 1):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(path, todo, theirs))
        process.start()
        theirs.close()
        children.append((process, ours))
    # Started before there is anything to do: the queue's pipe holds only so much unread.
    for piece in byte_ranges(path):
        todo.put(piece)
    for _ in range(len(children) + 1):
        todo.put(None)
    counts = count_pieces(path, todo)
    for process, result in children:
        for word, number in marshal.loads(result.recv_bytes()).items():
            counts[word] = counts.get(word, 0) + number
        process.join()
    return counts


def count_with_counter(path: str) -> dict[str, int]:
    counts: collections.Counter[str] = collections.Counter()
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            counts.update(line.split())
    return counts


if __name__ == "__main__":
    how, file_path = sys.argv[1:]
    counting = {"processes": count_in_processes, "counter": count_with_counter}[how]
    measure.report(counting(file_path))
