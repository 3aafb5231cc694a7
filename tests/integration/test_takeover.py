"""Rings of real processes on loopback whose masters, clients and nodes are killed or paused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.messages import GetNode, Node
from map_reduce.errors import ClusterError, JobCancelledError, JobLostError
from map_reduce.server.local_cluster import LocalCluster

WAIT_S = 60


@pytest.fixture
def cluster():
    with LocalCluster(4, slots=1) as made:
        yield made


@contextmanager
def client_of(cluster, job_id=None, but=()):
    """A client by way of a node that is none of those; with an id, also a handle of that job."""
    node = next(node for node in cluster.nodes if node not in but)
    with ServerInterface(str(node.address), quiet=True, progress=False) as server:
        yield server if job_id is None else (server, server.attach(job_id))


def master_of(cluster, job):
    address = eventually(lambda: job.master)
    return next(node for node in cluster.nodes if str(node.address) == address)


def eventually(call, seconds=WAIT_S):
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if result := call():
            return result
        pause.wait(0.01)
    raise AssertionError("it does not happen")


def kill(node):
    os.kill(node.process.pid, signal.SIGKILL)
    node.process.wait()


def await_full_groups(cluster, server):
    """A ring that has just closed may know fewer successors, and blocks have fewer copies then."""
    others = len(cluster.nodes) - 1

    def are_full():
        abouts = [
            server._access.peers.request(node.address, GetNode(), Node) for node in cluster.nodes
        ]
        return all(len(about.successors) == others for about in abouts)

    eventually(are_full)


def marked(folder, kind):
    """A function for workers that leaves a mark for each call: how often was it run?"""

    def mark(what):
        with open(f"{folder}/{kind}-{what}", "a") as file:
            file.write(f"{os.getpid()}\n")

    return mark


def runs_of(folder, kind):
    return {
        path.name.removeprefix(f"{kind}-"): len(path.read_text().splitlines())
        for path in folder.glob(f"{kind}-*")
    }


ITEMS = list(range(320))
TOTALS = {key: sum(range(key, 320, 8)) for key in range(8)}


def slow_job(server, folder):
    mark = marked(folder, "map")

    def slow(number, item):
        if number % 16 == 0:
            mark(number)
        threading.Event().wait(0.01)
        return [(item % 8, item)]

    def slow_sum(key, values):
        threading.Event().wait(0.05)
        return sum(values)

    return server.startup(ITEMS, slow, slow_sum, name="slow")


def test_the_death_of_the_master_costs_a_job_nothing_but_time(cluster, tmp_path):
    with client_of(cluster) as server:
        job = slow_job(server, tmp_path)
        eventually(lambda: job.progress.records >= 60)
        victim = master_of(cluster, job)
        kill(victim)
        with client_of(cluster, job.id, but=[victim]) as (_, attached):
            assert attached.name == "slow"
            assert attached.result(WAIT_S) == TOTALS
            measured = attached.explain()  # before and after the death: the ledger has it
            assert measured.map_tasks.count == measured.splits.count > 1
            assert measured.map_tasks.total >= len(ITEMS) * 0.01
            assert attached.report.masters == 2
    repeated = [number for number, runs in runs_of(tmp_path, "map").items() if runs > 1]
    assert len(repeated) <= 20 / 4 + 2, "only what was done, or under way, on the dead node"


def test_a_job_that_sorts_does_so_when_its_master_dies(cluster, tmp_path):
    mark = marked(tmp_path, "map")

    def spread(number, item):
        if number % 16 == 0:
            mark(number)
        threading.Event().wait(0.01)
        return [(f"{item * 7919 % 100_003:06}", item), (f"{item % 16:06}", item)]

    with client_of(cluster) as server:
        job = server.startup(ITEMS, spread, collect, name="sorted", sort=True)
        eventually(lambda: job.progress.records >= 60)
        victim = master_of(cluster, job)
        kill(victim)
        with client_of(cluster, job.id, but=[victim]) as (_, attached):
            got = attached.result(WAIT_S)
    groups = {}
    for item in ITEMS:
        for key, value in ((f"{item * 7919 % 100_003:06}", item), (f"{item % 16:06}", item)):
            groups.setdefault(key, []).append(value)
    assert list(got.items()) == sorted(groups.items())


def collect(key, values):
    return list(values)


def test_the_client_may_die_as_soon_as_the_job_is_submitted(cluster):
    script = f"""
import os
from map_reduce import ServerInterface
server = ServerInterface({str(cluster.nodes[0].address)!r}, quiet=True)
job = server.startup(range(100), lambda number, item: [(item % 4, 1)], lambda key, ones: sum(ones))
print(job.id, flush=True)
os._exit(1)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    with client_of(cluster, ran.stdout.strip()) as (server, job):
        assert job.result(WAIT_S) == dict.fromkeys(range(4), 25)
        eventually(lambda: is_unknown(server, job.id))


def is_unknown(server, job_id):
    try:
        server.attach(job_id)
    except JobLostError:
        return True
    return False


def test_results_are_there_after_client_and_master_are_gone(cluster):
    with client_of(cluster) as server:
        job = server.startup(list(range(100)), lambda n, item: [(item % 4, item)], max_of)
        eventually(lambda: job.state == "done")
        victim = master_of(cluster, job)
    kill(victim)
    with client_of(cluster, job.id, but=[victim]) as (_, again):
        assert again.state == "done"
        assert again.result(WAIT_S) == {0: 96, 1: 97, 2: 98, 3: 99}


def max_of(key, values):
    return max(values)


def test_a_master_that_comes_back_finds_that_another_has_taken_over(cluster, tmp_path):
    with client_of(cluster) as server:
        job = slow_job(server, tmp_path)
        eventually(lambda: job.progress.records >= 60)
        victim = master_of(cluster, job)
        victim.process.send_signal(signal.SIGSTOP)
        with client_of(cluster, job.id, but=[victim]) as (_, attached):
            try:
                eventually(lambda: attached.master not in (None, str(victim.address)))
                victim.process.send_signal(signal.SIGCONT)
                assert attached.result(WAIT_S) == TOTALS
            finally:
                victim.process.send_signal(signal.SIGCONT)


def test_two_of_five_nodes_at_once(tmp_path):
    with LocalCluster(5, slots=1) as five, client_of(five) as server:
        await_full_groups(five, server)
        job = slow_job(server, tmp_path)
        eventually(lambda: job.progress.records >= 60)
        first = master_of(five, job)
        second = next(node for node in five.nodes if node is not first)
        kill(first)
        kill(second)
        with client_of(five, job.id, but=[first, second]) as (_, attached):
            assert attached.result(WAIT_S) == TOTALS


def test_a_job_waits_for_the_majority_of_its_record_says_so_and_goes_on(tmp_path):
    with LocalCluster(3, slots=1) as three, client_of(three) as server:
        job = slow_job(server, tmp_path)
        eventually(lambda: job.progress.records >= 30)
        victims = [node for node in three.nodes if node is not three.nodes[0]]
        for node in victims:
            node.process.send_signal(signal.SIGSTOP)
        try:
            missing = {str(node.address) for node in victims}
            eventually(lambda: set(waiting_for(job)) == missing)
            assert job.state not in ("done", "failed")
        finally:
            for node in victims:
                node.process.send_signal(signal.SIGCONT)
        assert job.result(WAIT_S) == TOTALS
        assert job.waiting_for == ()


def waiting_for(job):
    try:
        return job.waiting_for
    except (ClusterError, JobLostError):
        return ()


def test_a_job_can_be_cancelled_while_it_has_no_master(cluster, tmp_path):
    with client_of(cluster) as server:
        job = slow_job(server, tmp_path)
        eventually(lambda: job.progress.records >= 20)
        victim = master_of(cluster, job)
        kill(victim)
        with client_of(cluster, job.id, but=[victim]) as (_, attached):
            attached.cancel()
            with pytest.raises(JobCancelledError):
                attached.result(WAIT_S)


@pytest.mark.slow
def test_masters_die_between_two_steps_and_in_the_second(tmp_path):
    """The results of the first, and a dataset, are read although the nodes that had made them and
    seen to them are gone."""
    with LocalCluster(5, slots=1) as five, client_of(five) as server:
        await_full_groups(five, server)
        dataset = server.dataset({key: key * 1000 for key in range(8)})
        first = server.startup(
            ITEMS, lambda n, item: [(item % 8, item)], lambda key, values: values
        )
        first.wait(WAIT_S)
        others = [node for node in five.nodes if node is not five.nodes[0]]
        doomed = [master_of(five, first)] if master_of(five, first) in others else others[:1]
        kill(doomed[0])
        second = server.startup([dataset, first], slowly_flat, sum_of)
        eventually(lambda: second.progress.records >= 2)
        if (victim := master_of(five, second)) in others:
            kill(victim)
        assert second.result(WAIT_S) == {key: key * 1000 + TOTALS[key] for key in range(8)}
        dataset.release()


def slowly_flat(key, value):
    threading.Event().wait(0.2)
    return [(key, number) for number in (value if isinstance(value, list) else [value])]


def sum_of(key, values):
    return sum(values)
