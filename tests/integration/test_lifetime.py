"""When things are closed, forked, joined or collected at an unlucky time."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from memory_ring import MemoryRing

from map_reduce.client.handle import JobHandle
from map_reduce.client.inputs import read_inputs
from map_reduce.client.server_interface import ServerInterface
from map_reduce.client.submission import submit
from map_reduce.errors import ClusterError, JobLostError, JobTimeoutError
from map_reduce.job import Job
from map_reduce.server.configs import NodeConfig
from map_reduce.server.node import Node
from map_reduce.transport.memory import EMBEDDED, MemoryNetwork, MemoryTransport

WAIT_S = 60


def words(number, line):
    return [(word, 1) for word in line.split()]


def total(word, counts):
    return sum(counts)


def stuck(number, item):
    threading.Event().wait(600)


def test_a_job_ends_with_its_node():
    with ServerInterface(slots=1, quiet=True) as server:
        job = server.startup(["a"], stuck, total)
    with pytest.raises(JobLostError, match="closed"):
        job.result(WAIT_S)
    with pytest.raises(ClusterError, match="closed"):
        server.startup(["a"], words, total)
    server.close()


def test_a_thread_that_waits_for_a_result_hears_of_the_close():
    server = ServerInterface(slots=1, quiet=True)
    job = server.startup(["a"], stuck, total)
    heard = []

    def wait():
        try:
            job.result(WAIT_S)
        except JobLostError as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    server.close()
    thread.join(WAIT_S)
    assert len(heard) == 1


def test_a_handle_keeps_its_node_alive():
    job = ServerInterface(slots=1, quiet=True).startup(["a b a"], words, total)
    assert job.result(WAIT_S) == {"a": 2, "b": 1}
    job._keeper.close()


def test_a_second_waiter_has_a_time_limit_of_its_own():
    with ServerInterface(slots=1, quiet=True) as server:
        job = server.startup(["a"], stuck, total)
        entered = threading.Event()

        def wait():
            entered.set()
            with pytest.raises(JobLostError):
                job.result(WAIT_S)

        thread = threading.Thread(target=wait)
        thread.start()
        entered.wait(WAIT_S)
        with pytest.raises(JobTimeoutError):
            job.result(0.05)
        server.close()
        thread.join(WAIT_S)


def test_jobs_stay_with_their_master_when_a_node_joins():
    ring = MemoryRing(1)
    try:
        jobs = []
        for number in range(6):
            job = Job(words, total)
            submitted = submit(ring.access, job, read_inputs([f"text {number}"] * 50), 2)
            jobs.append(JobHandle(ring.access, submitted, "job", show_progress=False))
        ring.add()
        for number, job in enumerate(jobs):
            assert job.result(WAIT_S)[str(number)] == 50
    finally:
        ring.close()


FORKING = """
import os, sys
from map_reduce import ServerInterface
from map_reduce.errors import ClusterError

def words(number, line):
    return [(word, 1) for word in line.split()]

def count(word, ones):
    return len(ones)

server = ServerInterface(slots=1, quiet=True)
if os.fork() == 0:
    try:
        server.startup(["a"], words, count)
    except ClusterError as error:
        assert "fork" in str(error)
        sys.exit(7)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
print(sorted(server.startup(["a b a"] * 100, words, count).result(30).items()))
"""


def test_a_fork_leaves_its_parents_node_alone(tmp_path):
    script = tmp_path / "forking.py"
    script.write_text(FORKING)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[('a', 200), ('b', 100)]\n", done.stderr


def test_closing_goes_on_after_a_part_that_fails(capsys):
    node = Node(
        MemoryTransport(MemoryNetwork()),
        config=NodeConfig(host=EMBEDDED.host, port=EMBEDDED.port, slots=1),
    )

    def fail():
        raise RuntimeError("this part is stubborn")

    node._closers.callback(fail)
    with pytest.raises(RuntimeError, match="stubborn"):
        node.close()
    node.close()  # and nothing is left, as is looked at after each test


def test_a_closed_standard_error_is_no_obstacle(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from map_reduce import ServerInterface\n"
        "with ServerInterface(slots=1) as server:\n"
        "    print(server.startup(['a b a'], lambda n, x: [(w, 1) for w in x.split()], "
        "lambda k, v: sum(v)).result())\n"
    )
    command = f'"{sys.executable}" "{script}" 2>&-'
    done = subprocess.run(
        ["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.stdout == "{'a': 2, 'b': 1}\n"
