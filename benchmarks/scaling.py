"""How the time of a job falls with the nodes, and what its master spends on each task and node.

    python benchmarks/scaling.py sleep [--work-s 64] [--nodes 1 2 4 8]
    python benchmarks/scaling.py master [--tasks 1000 10000 100000] [--nodes 10 100 1000]

``sleep``: rings of real processes on this machine, one slot each, and user code that sleeps, so
that the processors do not count. The efficiency of n nodes is the time that the sleeping takes,
divided by n times the time of the job, from its submission to its results in the client.

``master``: the processor time of the real scheduler, on this one thread, for a job of so many map
tasks and the reduce tasks that follow, with everything else that the master's process does for each
message: encoding orders and batches of the ledger, decoding what nodes report and their signs of
life. The nodes are a stand-in that ends each task at once, and the network is left out: what
sending costs, ``benchmarks/transport.py`` measures. A master is full when the tasks that end in a
second, and the signs of life that come in it, take a second.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce import ServerInterface
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import AttemptEnded as EndedMessage
from map_reduce.core.messages import (
    AttemptsRunning,
    Counts,
    Functions,
    InlineItems,
    JobSpec,
    MapOutput,
    MapWork,
    OrderAttempts,
    OutputPart,
    ReduceOutput,
    ReportAttempts,
    Request,
    Running,
    StartAttempt,
)
from map_reduce.core.names import map_output
from map_reduce.core.scheduling.effects import Commit, Effect, Finish, Start
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptTaken,
    Committed,
    NodesKnown,
    NodeSlots,
    StillRunning,
)
from map_reduce.core.scheduling.plan import partitions_for
from map_reduce.core.scheduling.scheduler import JobScheduler
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.transport import wire

JOB_ID = "0" * 64
ME = Member(Address("10.0.0.1", 9000), 1)
SLOTS = 2
MAP_OUTPUT_BYTES = 1 << 20
SLEEP_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(required=True)
    asleep = kinds.add_parser("sleep")
    asleep.add_argument("--work-s", type=float, default=64.0, help="that one node would sleep")
    asleep.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    asleep.set_defaults(run=sleep)
    master = kinds.add_parser("master")
    master.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    master.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1_000])
    master.set_defaults(run=masters)
    asked = parser.parse_args()
    asked.run(asked)


# ---------------------------------------------------------------------- nodes that sleep


def sleepy(number: int, item: int) -> list[tuple[int, int]]:
    time.sleep(SLEEP_S)
    return [(item % 10, 1)]


def total(key: int, ones: list[int]) -> int:
    return sum(ones)


def sleep(asked: argparse.Namespace) -> None:
    os.environ["MR_ITEMS_PER_CHUNK"] = "1"
    items = range(round(asked.work_s / SLEEP_S))
    print(f"{'nodes':>5}{'job':>9}{'efficiency':>12}")
    for count in asked.nodes:
        with (
            LocalCluster(count, slots=1) as cluster,
            ServerInterface(str(cluster.nodes[0].address), quiet=True, progress=False) as server,
        ):
            server.startup(range(4 * count), sleepy, total).result()  # starts the workers
            begun_s = time.perf_counter()
            answer = server.startup(items, sleepy, total).result()
            job_s = time.perf_counter() - begun_s
        assert sum(answer.values()) == len(items)
        print(f"{count:>5}{job_s:>8.2f} s{asked.work_s / (count * job_s):>12.3f}", flush=True)


# ---------------------------------------------------------------------- what a master spends


def masters(asked: argparse.Namespace) -> None:
    head = ("tasks", "nodes", "map task", "reduce task", "of these", "largest", "sign of life")
    print("".join(f"{title:>13}" for title in head), "   list of nodes")
    for nodes in asked.nodes:
        for tasks in asked.tasks:
            Measured(tasks, nodes).run()


class Measured:
    """One job, with its nodes in a stand-in."""

    def __init__(self, tasks: int, nodes: int) -> None:
        self.tasks = tasks
        self.nodes = [
            Member(Address(f"10.0.{n // 250}.{n % 250}", 9000), 1) for n in range(1, nodes + 1)
        ]
        splits = tuple(InlineItems(b"", 10, index, False) for index in range(tasks))
        self.spec = JobSpec(
            job_id=JOB_ID,
            birth=b"",
            name="measured",
            functions=Functions(bytes(1000), None, b""),
            combines=False,
            splits=splits,
            partitions=partitions_for(tasks, nodes * SLOTS, tasks * MAP_OUTPUT_BYTES),
            readers=(),
            input_bytes=tasks * MAP_OUTPUT_BYTES,
            python="",
            submitted_at_s=0.0,
        )
        self.scheduler = JobScheduler(
            self.spec, epoch=1, attempts_max=3, node_silence_s_max=10.0, now_s=0.0
        )
        self.message_bytes_max = 0
        self.finished = False

    def run(self) -> None:
        listed = NodesKnown(tuple(NodeSlots(node, SLOTS) for node in self.nodes))
        effects = deque(self.scheduler.handle(listed, 0.0))
        # As long as all slots are taken, and nothing comes of these but that they were heard.
        list_s = _timed(lambda: self.scheduler.handle(listed, 0.0), 20)
        sign_s = self._sign_s()
        map_s = self._until(effects, lambda start: not isinstance(start.work, MapWork))
        reduces = len(self.scheduler.ledger.finals)
        reduce_s = self._until(effects, lambda start: False)
        assert self.finished
        print(
            f"{self.tasks:>13,}{len(self.nodes):>13,}{map_s / self.tasks * 1e6:>10.0f} µs"
            f"{reduce_s / max(1, reduces) * 1e6:>10,.0f} µs{reduces:>13,}"
            f"{self.message_bytes_max / 1e6:>10.2f} MB{sign_s * 1e6:>10.0f} µs"
            f"{list_s / len(self.nodes) * 1e6:>10.1f} µs a node",
            flush=True,
        )

    def _until(self, effects: deque[Effect], stop: Callable[[Start], bool]) -> float:
        """Processor time until there is an order at which to stop, or the end."""
        begun_s = time.process_time()
        while effects:
            effect = effects[0]
            if isinstance(effect, Start) and stop(effect):
                break
            effects.popleft()
            if isinstance(effect, Start):
                effects.extend(self._order(effect))
            elif isinstance(effect, Commit):
                for _, shard in effect.shards:
                    shard.encode()
                effects.extend(self.scheduler.handle(Committed(effect.number), 0.0))
            else:
                assert isinstance(effect, Finish), effect
                self.finished = True
        return time.process_time() - begun_s

    def _order(self, start: Start) -> list[Effect]:
        """Send it, hear that it was taken, and that it has ended."""
        order = StartAttempt(
            start.attempt, 1, ME.address, self.spec.functions, start.work, 60.0, start.careful
        )
        size = len(wire.encode_request(Request("cluster", ME, OrderAttempts((order,)))))
        self.message_bytes_max = max(self.message_bytes_max, size)
        effects = list(self.scheduler.handle(AttemptTaken(start.attempt, start.node), 0.0))
        if isinstance(start.work, MapWork):
            each = MAP_OUTPUT_BYTES // start.work.partitions
            made: MapOutput | ReduceOutput = MapOutput(
                map_output(start.attempt), (each,) * start.work.partitions, Counts(10, 100)
            )
        else:
            made = ReduceOutput(OutputPart(1, b"", None), Counts(10, 100))
        reports = ReportAttempts((EndedMessage(start.attempt, 1, start.node, made),))
        data = wire.encode_request(Request("cluster", start.node, reports))
        body = wire.decode_request(data).body
        assert isinstance(body, ReportAttempts)
        told = body.reports[0]
        ended = AttemptEnded(told.attempt, told.node, told.outcome)
        return effects + list(self.scheduler.handle(ended, 0.0))

    def _sign_s(self) -> float:
        """Of taking one node's sign of life."""
        node = self.nodes[0]
        running = tuple(
            Running(attempt.id, 3, 30)
            for attempt in self.scheduler.attempts.values()
            if attempt.node.member == node
        )
        data = wire.encode_request(Request("cluster", node, AttemptsRunning(JOB_ID, node, running)))

        def take() -> None:
            told = wire.decode_request(data).body
            assert isinstance(told, AttemptsRunning)
            self.scheduler.handle(StillRunning(told.node, told.running), 0.0)

        return _timed(take, 200)


def _timed(call: Callable[[], object], times: int) -> float:
    begun_s = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun_s) / times


if __name__ == "__main__":
    main()
