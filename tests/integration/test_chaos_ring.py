"""Rings of real processes that are hurt: by hand, at random, while they start, with their data."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

import lookups
from map_reduce.core.identifiers import distance, identifier_of
from map_reduce.core.messages import BlockRef
from map_reduce.errors import ClusterError, NoNodeError
from map_reduce.storage.disk import PART, SET_ASIDE
from map_reduce.testing import ChaosCluster
from map_reduce.testing.bootstrap import start_while_the_seed_dies
from map_reduce.testing.ring_chaos import check_lookups, ring_under_chaos

QUICK = {"MR_DEAD_AFTER": "1", "MR_STABILIZE_INTERVAL": "0.1", "MR_REQUEST_TIMEOUT": "0.3"}
"""A pause of more than a second is a death, and the ring closes over it at once."""


def ring_command(cluster, *arguments):
    address = str(cluster.running[0].address)
    command = [sys.executable, "-m", "map_reduce", "ring", "--address", address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def put(cluster, count, size_bytes=5000):
    """Blocks, by name, each acknowledged."""
    access, draw = cluster.access(), random.Random(7)
    try:
        blocks = {}
        for number in range(count):
            data = draw.randbytes(size_bytes + number)
            blocks[access.blocks.put(f"job/input/{number}", data)] = data
        return blocks
    finally:
        access.close()


def assert_readable(cluster, blocks):
    access = cluster.access()
    try:
        assert all(access.blocks.get(ref) == data for ref, data in blocks.items())
    finally:
        access.close()


@pytest.mark.slow
def test_a_ring_that_is_killed_paused_restarted_and_left_is_reported_as_it_is():
    with ChaosCluster(3, seed=1, settings=QUICK) as cluster:
        blocks = put(cluster, 20)
        whole = cluster.await_copies()
        assert len(whole.census.places) == 3
        assert sum(map(whole.arc_share, whole.census.ring())) == pytest.approx(1.0)
        assert sum(arc.blocks for arc in whole.health.arcs) == 20
        assert ring_command(cluster).returncode == 0

        first = cluster.pause_random()
        assert first.number == random.Random(1).choice([0, 1, 2]), "the seed decides"
        second = cluster.pause_random()
        (third,) = cluster.running
        cluster.await_report(lambda report: report.census.cut_off() != (), "one is cut off", 30)
        broken = ring_command(cluster)
        assert broken.returncode == 1
        assert "NOT WHOLE" in broken.stdout
        assert "does not answer" in broken.stdout
        assert f"{third.address} is cut off" in broken.stdout
        told = json.loads(ring_command(cluster, "--json").stdout)
        assert told["whole"] is False
        silent = {silent["address"] for silent in told["silent"]}
        assert silent
        assert silent <= {str(first.address), str(second.address)}
        with pytest.raises(ClusterError, match=r"(?s)is whole.*does not answer.*seed 1;.*paused"):
            cluster.await_report(lambda report: report.whole, "it is whole", 0.2)
        cluster.resume()
        cluster.await_copies()

        cluster.kill(third)
        cluster.await_whole()
        assert [place.member.address for place in cluster.report().census.places] == sorted(
            (first.address, second.address), key=lambda address: address.identifier
        )
        cluster.restart(third)
        cluster.await_copies()
        cluster.stop(first)
        cluster.await_copies()
        assert_readable(cluster, blocks)
        added = cluster.add()
        cluster.await_copies()
        assert cluster.node_at(added.address) is added
        access = cluster.access()
        assert check_lookups(cluster, access) == 75
        access.close()


def test_nobody_is_left_to_join():
    with ChaosCluster(1, seed=1) as cluster:
        cluster.kill_random()
        with pytest.raises(NoNodeError, match="could be joined"):
            cluster.restart(cluster.nodes[0])
        with pytest.raises(NoNodeError):
            cluster.server()


def files_of(node):
    blocks = (path for path in node.data_folder.iterdir() if "%2F" in path.name)
    return sorted(path for path in blocks if not path.name.endswith(PART))


def test_a_killed_node_has_its_blocks_again_and_mends_what_the_disk_did_to_them():
    with ChaosCluster(4, seed=3, keep_data=True, settings=QUICK) as cluster:
        blocks = put(cluster, 30)
        cluster.await_copies()
        victim = cluster.nodes[2]
        cluster.kill(victim)
        sound = {path.name: path.read_bytes() for path in files_of(victim)}
        assert len(sound) == 30
        cut, flipped, gone, kept = files_of(victim)[:4]
        cut.write_bytes(cut.read_bytes()[:-7])
        flipped.write_bytes(b"?" + flipped.read_bytes()[1:])
        gone.unlink()
        (half := kept.with_name(kept.name + PART)).write_bytes(b"half")
        inode = kept.stat().st_ino
        cluster.restart(victim)
        cluster.await_copies()

        pause = threading.Event()
        for _ in range(600):  # damage is found in the background
            if {path.name: path.read_bytes() for path in files_of(victim)} == sound:
                break
            pause.wait(0.1)
        assert {path.name: path.read_bytes() for path in files_of(victim)} == sound
        assert kept.stat().st_ino == inode, "what was sound stays where it was"
        assert not half.exists()
        set_aside = {path.name for path in (victim.data_folder / SET_ASIDE).iterdir()}
        assert set_aside == {cut.name, flipped.name}
        assert_readable(cluster, blocks)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_ring_whose_nodes_all_died_has_its_blocks_when_they_are_back():
    with ChaosCluster(5, seed=4, keep_data=True, settings=QUICK) as cluster:
        blocks = put(cluster, 40)
        cluster.await_copies()
        one, *others = cluster.nodes
        for node in others:  # one after another, so that nobody is cut off
            cluster.kill(node)
            cluster.await_whole()
        for node in others:
            cluster.restart(node)
        cluster.kill(one)
        cluster.await_copies()
        assert_readable(cluster, blocks)


@pytest.mark.slow
def test_a_lookup_on_a_quiet_ring_of_eight_costs_two_requests_at_most_in_the_median():
    with ChaosCluster(8) as cluster:
        by_one, _ = lookups.measure(cluster, 300, knows_all=False)
        assert statistics.median(by_one) <= 2
        assert max(by_one) <= 2
        by_all, _ = lookups.measure(cluster, 300, knows_all=True)
        assert statistics.median(by_all) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("known", [1, 2, 3, 6])
def test_the_node_that_all_join_dies_in_the_middle(known):
    with ChaosCluster(1, settings=QUICK) as cluster:
        result = start_while_the_seed_dies(cluster, 7, known)
        assert result.joined + len(result.refusals) == 7


@pytest.mark.slow
def test_eight_nodes_start_at_once():
    with ChaosCluster(1, seed=1) as cluster:
        cluster.add_all(7)
        assert len(cluster.await_whole().census.places) == 8


def owners(cluster, ref: BlockRef):
    place = identifier_of(ref.name)
    return sorted(cluster.running, key=lambda node: distance(place, node.address.identifier))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_of_a_group_at_the_same_instant_and_four_one_after_another():
    with ChaosCluster(9, seed=6, settings=QUICK) as cluster:
        blocks = put(cluster, 40)
        ref = next(iter(blocks))
        cluster.kill(*owners(cluster, ref)[:2])
        cluster.await_copies()
        for _ in range(2):
            cluster.kill(owners(cluster, ref)[0])
            cluster.await_copies()
        assert len(cluster.running) == 5
        assert_readable(cluster, blocks)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("keep_data", [False, True])
def test_eight_nodes_under_random_faults(keep_data):
    with ChaosCluster(8, keep_data=keep_data) as cluster:
        print(f"seed {cluster.seed}")
        print(result := ring_under_chaos(cluster, seconds=25))
        assert result.lookups == 8 * 25
        assert result.acknowledged > 0
        assert result.report is not None
        assert result.report.whole
        by_place = [place.member.identifier for place in result.report.census.places]
        assert all(before < after for before, after in pairwise(by_place))
