"""How long it takes until all copies of all blocks are in their places again, after a change.

    python benchmarks/blocks.py [--nodes 8] [--mb 200] [--block-kb 1024] [--compared 100000]

On a ring of node processes on this machine, which holds ``--mb`` MiB of blocks five times over:

    killed   one node is ended by SIGKILL: until its copies are made anew. Most of it is the time
             after which a silent node counts as dead (MR_DEAD_AFTER), then the rate that repair
             keeps to (MR_REPAIR_MB_PER_S_MAX, for each node).
    joined   a node joins: until it holds what it should, and nobody holds what he need not.
    left     a node is told to stop: until it has handed over its blocks and ended.

A copy counts when its node's status does. Then, in this process, two members with ``--compared``
blocks each are compared that differ in one, ten, and all: requests, and bytes of the answers.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce.client.status import cluster_status
from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address, Identifier, Member, distance, identifier_of
from map_reduce.core.messages import BlockRef, CompareArc, Message
from map_reduce.core.procedure import Ask, perform
from map_reduce.core.repair.compare import answer_comparison, difference
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.server.access import connect
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.wire import encode_reply

REPLICAS = 5
WAIT_S = 300.0
MIB = 1 << 20


def copies(addresses: list[Address], blocks: dict[str, int]) -> dict[Address, tuple[int, int]]:
    """For each node, how many blocks it should hold, and their bytes."""
    found = dict.fromkeys(addresses, (0, 0))
    for name, size_bytes in blocks.items():
        place = identifier_of(name)
        for address in sorted(addresses, key=lambda a: distance(place, a.identifier))[:REPLICAS]:
            count, total = found[address]
            found[address] = count + 1, total + size_bytes
    return found


def await_copies(entry: Address, wanted: dict[Address, tuple[int, int]]) -> float:
    """Seconds until each node holds as much as it should."""
    start_s = time.monotonic()
    while time.monotonic() - start_s < WAIT_S:
        nodes = cluster_status(str(entry)).nodes
        held = {node.member.address: (node.blocks, node.block_bytes) for node in nodes}
        if held == wanted:
            return time.monotonic() - start_s
        time.sleep(0.05)
    raise SystemExit(f"not all copies were in their places after {WAIT_S:g} s")


def measure_ring(nodes: int, total_mb: int, block_kb: int) -> None:
    """Kill, join, leave."""
    draw = random.Random(1)
    with LocalCluster(nodes, slots=1) as cluster:
        access = connect([cluster.nodes[0].address], PyroTransport(credentials()))
        blocks = {
            f"benchmark/input/{n}": block_kb * 1024 for n in range(total_mb * 1024 // block_kb)
        }
        start_s = time.monotonic()
        refs = [access.blocks.put(name, draw.randbytes(size)) for name, size in blocks.items()]
        put_s = time.monotonic() - start_s
        addresses = [node.address for node in cluster.nodes]
        entry = addresses[0]
        wanted = copies(addresses, blocks)
        await_copies(entry, wanted)
        print(f"{nodes} nodes, {len(blocks)} blocks of {block_kb} KiB, five copies of each")
        print(f"put      {put_s:6.1f} s  {total_mb * REPLICAS / put_s:6.0f} MiB/s of copies")

        victim = cluster.nodes.pop()
        lost_mb = wanted[victim.address][1] / MIB
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        addresses.remove(victim.address)
        report("killed", await_copies(entry, wanted := copies(addresses, blocks)), lost_mb)

        command = [sys.executable, "-m", "map_reduce", "node", "--slots", "1"]
        with subprocess.Popen(
            [*command, "--join", str(entry)], stdout=subprocess.PIPE, text=True
        ) as joiner:
            assert joiner.stdout is not None
            address = Address.parse(joiner.stdout.readline().split()[1])
            wanted = copies([*addresses, address], blocks)
            report("joined", await_copies(entry, wanted), wanted[address][1] / MIB)
            start_s = time.monotonic()
            joiner.send_signal(signal.SIGTERM)
            joiner.wait()
            left_s = time.monotonic() - start_s
        report("left", left_s, wanted[address][1] / MIB)
        rest_s = await_copies(entry, copies(addresses, blocks))
        print(f"         {rest_s:6.1f} s  until the rest was in order, too")
        for ref in refs:
            access.blocks.get(ref)
        access.close()


def report(what: str, seconds: float, mb: float) -> None:
    print(f"{what:8} {seconds:6.1f} s  {mb:6.0f} MiB of copies")


def block(name: str, size_bytes: int) -> BlockRef:
    return BlockRef(name, size_bytes, digest_of(name.encode()))


def measure_comparison(count: int) -> None:
    """What it takes to find differences."""
    refs = [block(f"benchmark/input/{number}", 1 << 20) for number in range(count)]
    inventory = Inventory(refs)
    everything = Arc(Identifier(0), Identifier(0))
    peer = Member(Address("peer", 1), 1)
    for differing in (0, 1, 10, count):
        other = Inventory(refs[differing:])
        answers: list[int] = []

        def ask(question: Ask, other: Inventory = other, answers: list[int] = answers) -> Message:
            assert isinstance(question.message, CompareArc)
            reply = answer_comparison(other, question.message)
            answers.append(len(encode_reply(reply)))
            return reply

        start_s = time.perf_counter()
        found = perform(difference(peer, everything, inventory), ask)
        seconds = time.perf_counter() - start_s
        assert len(found.only_here) == differing
        print(
            f"compared {count} blocks, {differing} missing: {len(answers)} requests, "
            f"{sum(answers)} bytes answered, {seconds * 1000:.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--block-kb", type=int, default=1024)
    parser.add_argument("--compared", type=int, default=100_000)
    options = parser.parse_args()
    measure_ring(options.nodes, options.mb, options.block_kb)
    measure_comparison(options.compared)


if __name__ == "__main__":
    main()
