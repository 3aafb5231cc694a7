"""A ring of real processes on loopback, over Pyro4."""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import threading

import psutil
import pytest

from map_reduce.client.server_interface import ServerInterface
from map_reduce.client.status import cluster_status, status_text
from map_reduce.errors import ConfigError, MapError
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.node import Node
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport
from map_reduce.workers.template import HAS_TEMPLATES

WAIT_S = 60


@pytest.fixture
def ring(local_cluster):
    """A client of the three nodes, by way of the second."""
    with ServerInterface(str(local_cluster.nodes[1].address), quiet=True) as server:
        yield server


def words(number, line):
    return [(word, 1) for word in line.split()]


def total(word, counts):
    return sum(counts)


TEXT = [f"common word{number % 50} x{number}" for number in range(3000)]
COUNTS = {"common": 3000} | {f"word{n}": 60 for n in range(50)} | {f"x{n}": 1 for n in range(3000)}


def test_many_splits_run_on_all_nodes(ring, local_cluster):
    def whereabouts(number, line):
        threading.Event().wait(0.001)  # long enough that no node can do it all
        return [(os.getppid(), 1)]

    places = ring.startup(TEXT, whereabouts, total).result(WAIT_S)
    parents = [psutil.Process(pid) for pid in places]
    nodes = {parent.ppid() if HAS_TEMPLATES else parent.pid for parent in parents}
    assert nodes == {node.process.pid for node in local_cluster.nodes}
    assert sum(places.values()) == 3000


def test_items_mappings_and_files_give_the_same(ring, tmp_path):
    assert ring.startup(TEXT, words, total).result(WAIT_S) == COUNTS
    assert ring.startup(dict(enumerate(TEXT)), words, total, total).result(WAIT_S) == COUNTS
    plain, packed = tmp_path / "1.txt", tmp_path / "2.txt.gz"
    plain.write_text("\n".join(TEXT[:2000]))
    packed.write_bytes(gzip.compress("\n".join(TEXT[2000:]).encode()))
    pattern = str(tmp_path / "*.txt*")
    assert ring.startup(pattern, words, total, total).result(WAIT_S) == COUNTS


def test_results_larger_than_a_message(ring):
    def long(number, line):
        return [(number, line * 2000)]

    def first(key, values):
        return values[0]

    results = ring.startup(TEXT[:600], long, first).result(WAIT_S)
    assert results == {number: TEXT[number] * 2000 for number in range(600)}


def test_files_that_a_node_cannot_see_travel_through_the_ring(ring, tmp_path, monkeypatch):
    path = tmp_path / "numbers.txt"
    path.write_text("".join(f"line {number}\n" for number in range(5000)))
    # As if the nodes saw another file of that name.
    monkeypatch.setattr("map_reduce.client.cutting.Cutter._sees", lambda *_: False)

    def check(number, line):
        return [("right" if line == f"line {number}" else "wrong", 1)]

    assert ring.startup(path, check, total).result(WAIT_S) == {"right": 5000}


def test_functions_larger_than_the_specification(ring):
    table = {number: os.urandom(16) for number in range(20_000)}

    def known(number, item):
        return [(table[item] is not None, 1)]

    assert ring.startup(list(range(1000)), known, total).result(WAIT_S) == {True: 1000}


def test_jobs_at_the_same_time(ring):
    jobs = [ring.startup(TEXT[: 100 * n], words, total, name=f"job {n}") for n in range(1, 9)]
    assert [job.result(WAIT_S)["common"] for job in jobs] == [100 * n for n in range(1, 9)]
    assert len({job.id for job in jobs}) == 8
    assert all(job.state == "done" for job in jobs)


def test_jobs_from_several_threads(ring):
    results = {}

    def run(number):
        results[number] = ring.startup(TEXT[:number], words, total).result(WAIT_S)["common"]

    threads = [threading.Thread(target=run, args=(n,)) for n in (10, 20, 30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n for n in (10, 20, 30, 40)}


def test_progress_never_goes_back(ring):
    def slow(number, item):
        threading.Event().wait(0.002)
        return [(item % 5, 1)]

    job = ring.startup(list(range(400)), slow, total)
    seen = []
    pause = threading.Event()
    while not seen or seen[-1].phase not in ("done", "failed"):
        seen.append(job.progress)
        pause.wait(0.01)
    assert seen[-1].phase == "done"
    assert seen[-1].records == 400
    assert seen[-1].fraction == 1.0
    for before, after in itertools.pairwise(seen):
        for field in ("tasks_done", "records", "bytes_done", "fraction", "elapsed_s"):
            assert getattr(before, field) <= getattr(after, field), field
    assert job.result(WAIT_S) == dict.fromkeys(range(5), 80)


def test_an_error_names_the_node(ring, local_cluster):
    with pytest.raises(MapError) as caught:
        ring.startup(TEXT, lambda n, line: [(1 // (n - 1500), 1)], total).result(WAIT_S)
    assert "item 1500" in str(caught.value)
    assert any(str(node.address) in str(caught.value) for node in local_cluster.nodes)


def test_nothing_is_kept_of_released_jobs(ring, local_cluster):
    ring.startup(TEXT, words, total).result(WAIT_S)
    pause = threading.Event()
    for _ in range(500):
        status = cluster_status(str(local_cluster.nodes[0].address))
        if not any(node.blocks or node.jobs for node in status.nodes):
            break
        pause.wait(0.02)
    assert [(node.blocks, node.jobs) for node in status.nodes] == [(0, ())] * 3


def test_status_shows_nodes_and_their_places(local_cluster):
    status = cluster_status(str(local_cluster.nodes[2].address))
    assert {node.member.address for node in status.nodes} == {
        node.address for node in local_cluster.nodes
    }
    assert {node.pid for node in status.nodes} == {n.process.pid for n in local_cluster.nodes}
    by_place = sorted(status.nodes, key=lambda node: node.member.identifier)
    for node, successor in zip(by_place, by_place[1:] + by_place[:1], strict=True):
        assert node.successors[0] == successor.member
        assert successor.predecessor == node.member
    text = status_text(status)
    assert all(str(node.address) in text for node in local_cluster.nodes)


def test_a_node_with_other_settings_may_not_join(local_cluster):
    with pytest.raises(ConfigError, match="MR_DHT_REPLICATION_SIZE"):
        Node(
            PyroTransport(credentials()),
            cluster=ClusterConfig(replicas=3),
            config=NodeConfig(slots=1),
            join=[local_cluster.nodes[0].address],
        )


def test_a_node_that_only_works_for_a_job_may_die():
    with (
        LocalCluster(4) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True) as s,
    ):

        def slow(number, item):
            threading.Event().wait(0.02)
            return [(item % 10, number)]

        job = s.startup(list(range(400)), slow, lambda key, values: values)
        pause = threading.Event()
        while job.progress.records < 40:
            pause.wait(0.01)
        victim = next(node for node in cluster.nodes[1:] if str(node.address) != job.master)
        os.kill(victim.process.pid, signal.SIGKILL)
        expected = {n: list(range(n, 400, 10)) for n in range(10)}
        assert job.result(WAIT_S) == expected


def test_a_master_that_pauses_for_a_second_keeps_its_job():
    with (
        LocalCluster(2) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True) as s,
    ):

        def slow(number, item):
            threading.Event().wait(0.02)
            return [(item % 3, 1)]

        job = s.startup(list(range(60)), slow, total)
        (master,) = [n for n in cluster.nodes if str(n.address) == job.master]
        os.kill(master.process.pid, signal.SIGSTOP)
        timer = threading.Timer(1.0, os.kill, (master.process.pid, signal.SIGCONT))
        timer.start()
        assert job.result(WAIT_S) == {0: 20, 1: 20, 2: 20}
        timer.join()


def test_nodes_that_are_told_to_stop_end_in_order(capfd):
    with LocalCluster(2) as cluster:
        nodes = cluster.nodes
    assert [node.process.returncode for node in nodes] == [0, 0]
    assert "rror" not in capfd.readouterr().err


def test_workers_end_with_their_node_even_when_it_is_killed():
    with (
        LocalCluster(1, slots=2) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True) as s,
    ):
        (node,) = cluster.nodes

        def stuck(number, item):
            while True:
                pass

        s.startup(list(range(64)), stuck, total)
        pause = threading.Event()
        process = psutil.Process(node.process.pid)
        while len(process.children(recursive=True)) < 2 + HAS_TEMPLATES:
            pause.wait(0.01)
        workers = process.children(recursive=True)
        os.kill(node.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive


def test_more_results_than_fit_a_message(ring):
    def spread(number, item):
        return [((number, part), bytes(500)) for part in range(200)]

    results = ring.startup(list(range(100)), spread, lambda key, values: values[0]).result(WAIT_S)
    assert len(results) == 20_000
    assert set(results.values()) == {bytes(500)}
