"""Records on a ring of real processes under random faults, and whether their history could be.

Clients read, write, compare and add, on a few records, while nodes are killed, paused and started
again, with their memory of records and without. Afterwards, for every record,

- the history of all operations is linearizable, by the checker that the simulator uses too;
- all its members are nodes that run;
- a client that knows nothing but its birth certificate reads what the others read.

What may happen at once is what records promise to outlive: no two memories are lost before the
records have been moved off the first one. Pauses, and deaths of nodes that come back with their
memory, come in any number up to three nodes.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.registers.birth import Birth, Record
from map_reduce.core.registers.proposer import Settled
from map_reduce.errors import ClusterError, NoNodeError, Undecided, Unreachable
from map_reduce.server.access import Access
from map_reduce.simulation.registers.linearizability import NEVER, Operation, explain
from map_reduce.testing.cluster import ChaosCluster

SETTINGS = {
    "MR_DHT_REPLICATION_SIZE": "3",
    "MR_DEAD_AFTER": "1",
    "MR_STABILIZE_INTERVAL": "0.1",
    "MR_REQUEST_TIMEOUT": "0.3",
    "MR_RECORD_MOVE_AFTER": "1",
}
"""Three members for each record, so that of five nodes two are spare; and everything is quick."""

RECORDS = 4
AWAY_MAX = 3
PAUSE_S_MAX = 4.0
REST_S_MAX = 0.8
THINK_S_MAX = 0.1
WITHIN_S = 3.0
CARED_S_MAX = 90.0
STEP = 1_000_000
"""Values written are multiples of it, so that they differ whatever is added."""


@dataclass
class RecordChaosResult:
    """What was done, and what came of it: operations by kind and outcome, faults by kind."""

    seed: int
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    epochs: int = 0

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        outcomes = ", ".join(f"{count} {how}" for how, count in sorted(self.operations.items()))
        return (
            f"seed {self.seed}: {self.seconds:.0f} s of faults ({faults}); operations: {outcomes}; "
            f"{self.epochs // 2} changes of members; all histories are linearizable"
        )


def records_under_chaos(
    cluster: ChaosCluster, seconds: float, clients: int = 4
) -> RecordChaosResult:
    """Use records of the ring, which was started with ``SETTINGS``, for so long while it is hurt.

    Raises:
        ClusterError: something is not as it must be; says what, the seed, and what was done.
    """
    result = RecordChaosResult(cluster.seed, seconds)
    watcher = cluster.access()
    try:
        watcher.members()
        records = [_born(watcher, number) for number in range(RECORDS)]
        users = [_User(cluster, records, number) for number in range(clients)]
        try:
            _hurt(cluster, watcher, records, time.monotonic() + seconds, result)
        finally:
            for user in users:
                user.end()
        cluster.resume()
        for node in cluster.down:
            cluster.restart(node)
        _await_cared(cluster, watcher, records)
        for record in records:
            _judge(cluster, record, watcher, [one for user in users for one in user.history])
            result.epochs += watcher.records.read(record).epoch
        for user in users:
            result.operations += user.outcomes
    except ClusterError as error:
        story = "\n".join(cluster.story)
        raise ClusterError(f"{error}\nseed {cluster.seed}; what was done:\n{story}") from error
    finally:
        watcher.close()
    return result


def _born(access: Access, number: int) -> Record:
    nonce = time.time_ns().to_bytes(16, "big")
    members = access.records.choose_members(identifier_of(f"record {number}"))
    return Birth(b"%d" % number, nonce, members).record()


class _User:
    """A client, in a thread, with a connection of its own."""

    def __init__(self, cluster: ChaosCluster, records: Sequence[Record], number: int) -> None:
        self._access = cluster.access()
        self._access.members()  # from now on all are ways in
        self._records = records
        self._draw = random.Random(f"{cluster.seed}/{number}")
        self._news = itertools.count(number + 1, 1000)  # no other client writes the same
        self._seen: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"map-reduce-chaos-{number}")
        self.history: list[tuple[Record, Operation]] = []
        self.outcomes: Counter[str] = Counter()
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._access.close()

    def _run(self) -> None:
        while not self._stop.wait(self._draw.uniform(0, THINK_S_MAX)):
            record = self._draw.choice(self._records)
            kind = self._draw.choice(("read", "read", "write", "cas", "cas", "add", "add"))
            new, old = next(self._news) * STEP, self._seen.get(record.name, 0)
            if kind == "read":
                self._read(record)
            elif kind == "write":
                self._change(record, kind, (new,), _always(new))
            elif kind == "add":
                self._change(record, kind, (1,), lambda value: value + 1)
            else:
                self._change(record, kind, (old, new), _if_equal(old, new))

    def _read(self, record: Record) -> None:
        called = time.monotonic_ns()
        try:
            state = self._access.records.read(record, within_s=WITHIN_S)
        except Unreachable:
            self.outcomes["not done"] += 1
            return
        value = self._seen[record.name] = _number(state.value)
        place = 2 * state.version + 1
        self._note(record, Operation("read", (), called, time.monotonic_ns(), value, place))

    def _change(
        self,
        record: Record,
        kind: str,
        arguments: tuple[int, ...],
        change: Callable[[int], int | None],
    ) -> None:
        def of_bytes(value: bytes | None) -> bytes | None:
            new = change(_number(value))
            return None if new is None else b"%d" % new

        called = time.monotonic_ns()
        try:
            settled = self._access.records.change(record, of_bytes, within_s=WITHIN_S)
        except Undecided:
            self.outcomes["undecided"] += 1
            self.history.append((record, Operation(kind, arguments, called, place=NEVER)))
            return
        except Unreachable:
            self.outcomes["not done"] += 1
            return
        self._seen[record.name] = _number(settled.state.value)
        self._note(record, _done(kind, arguments, called, settled))

    def _note(self, record: Record, operation: Operation) -> None:
        self.outcomes["done"] += 1
        self.history.append((record, operation))


def _always(new: int) -> Callable[[int], int]:
    return lambda value: new


def _if_equal(old: int, new: int) -> Callable[[int], int | None]:
    return lambda value: new if value == old else None


def _done(kind: str, arguments: tuple[int, ...], called: int, settled: Settled) -> Operation:
    result: int | bool = settled.changed if kind == "cas" else _number(settled.state.value)
    place = 2 * settled.state.version + int(not settled.changed)
    return Operation(kind, arguments, called, time.monotonic_ns(), result, place)


def _number(value: bytes | None) -> int:
    return int(value) if value else 0


# ------------------------------------------------------------------ faults


def _hurt(
    cluster: ChaosCluster,
    watcher: Access,
    records: Sequence[Record],
    until_s: float,
    result: RecordChaosResult,
) -> None:
    draw = cluster.draw
    keeps = cluster.nodes[0].data_folder is not None
    while time.monotonic() < until_s:
        time.sleep(draw.uniform(0.05, REST_S_MAX))
        kind = draw.choice(("kill", "kill", "pause", "pause", "restart", "lose"))
        away = len(cluster.down) + len(cluster.paused)
        if kind == "restart" and cluster.down:
            cluster.restart_random()
        elif kind == "pause" and away < AWAY_MAX:
            cluster.pause_random(draw.uniform(0.1, PAUSE_S_MAX))
        elif kind == "kill" and away < AWAY_MAX and keeps and len(cluster.running) > 1:
            cluster.kill_random()
        elif kind == "lose":
            _await_cared(cluster, watcher, records)
            node = draw.choice(cluster.running)
            if draw.random() < 0.5:
                cluster.kill(node)
                time.sleep(draw.uniform(0.1, 3.0))
            cluster.restart(node, keep_data=False)
            _await_cared(cluster, watcher, records)
        else:
            continue
        result.faults[kind] += 1


def _await_cared(cluster: ChaosCluster, watcher: Access, records: Sequence[Record]) -> None:
    """Until all nodes run and are the members of the records, each with the memory that is meant.

    Raises:
        ClusterError: nobody has seen to it; which record, and who its members are.
    """
    cluster.resume()
    for node in cluster.down:
        cluster.restart(node)
    until_s = time.monotonic() + CARED_S_MAX
    for record in records:
        while True:
            problem = _problem(watcher, record)
            if problem is None:
                break
            if time.monotonic() > until_s:
                raise ClusterError(f"nobody looks after record {record.name}: {problem}")
            time.sleep(0.1)


def _problem(watcher: Access, record: Record) -> str | None:
    try:
        watcher.members()
        state = watcher.records.read(record, within_s=WITHIN_S)
    except (Unreachable, NoNodeError) as error:
        return str(error)
    sights = watcher.records.sights([one for config in state.configs for one in config])
    lost = [str(one) for config in state.configs for one in config if sights.get(one) != one]
    if lost or len(state.configs) == 2:
        return f"of its members {', '.join(map(str, state.configs[-1]))}, {lost} are gone"
    return None


def _judge(
    cluster: ChaosCluster,
    record: Record,
    watcher: Access,
    history: Sequence[tuple[Record, Operation]],
) -> None:
    """Raises ClusterError: the history of this record is not linearizable, or it is lost."""
    operations = [operation for of, operation in history if of == record]
    newcomer = cluster.access()
    try:
        for access in (watcher, newcomer):
            called = time.monotonic_ns()
            state = access.records.read(record)
            now, value = time.monotonic_ns(), _number(state.value)
            operations.append(Operation("read", (), called, now, value, 2 * state.version + 1))
    finally:
        newcomer.close()
    if (problem := explain(operations)) is not None:
        raise ClusterError(f"record {record.name}: {problem}")
