"""What the C library holds and nobody uses goes back to the system, now and then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from map_reduce.server.allocator import INTERVAL_S, Allocator

HOLED = """
import ctypes, sys
from map_reduce.server.allocator import Allocator

allocator = Allocator()
if allocator._trim is None:
    sys.exit(77)

def used_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

blocks = [bytes(8_000) for _ in range(8_000)]
kept = blocks[::100]  # what keeps the rest from being given back
del blocks
before = used_kib()
allocator.see_to(0.0)
print(before - used_kib())
"""


def test_pages_between_what_lives_are_given_back():
    done = subprocess.run(
        [sys.executable, "-c", HOLED], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20_000, "of 60 MB hardly anything is given back"


def test_it_is_done_no_more_often_than_it_should():
    allocator, calls = Allocator(), []
    allocator._trim = calls.append
    for now_s in (5.0, 5.0 + INTERVAL_S / 2, 5.0 + INTERVAL_S, 6.0 + INTERVAL_S):
        allocator.see_to(now_s)
    assert calls == [0, 0]
