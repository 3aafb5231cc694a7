"""What is done to a ring of real containers while it counts words, and whether the answer is right.

    python benchmarks/container_faults.py [CELL …] [--times 3] [--megabytes 100] [--notes FILE]
    python benchmarks/container_faults.py kill:master lossy:two

Nodes run in containers, each with one slot; a client counts the words of a file of real text,
which it sends into the ring. It runs on this machine and in a container of its own, in turn. At a
moment drawn from the seed something is done to a container or two; either it stays so
until the job has ended, or for 8 s, which is drawn too. The answer is compared with that of one
loop over the lines. Then all is undone, and the ring has to become whole, with all copies, before
the next job. Each row has a ring of its own, and begins with a job to which nothing is done.

Rows:     kill, pause, disconnect, throttle, memory, disk, slow, lossy: see container_hurting.py
          mixed       two of these, drawn from the seed, to two containers at once
          partition   a ring of six is cut in two halves for 10 s
Columns:  node        one that is not the job's master
          master      the job's master, as soon as there is one
          two         two at once, the master among them as chance will have it
          (a partition has one column: each half has the master as chance will have it)

A cell is ROW:COLUMN. Each says how many jobs gave the right answer, their median time, and how many
times that of the row's undisturbed job that is. What did not take hold (a job was over
before, or memory sufficed) is done again, and not counted. A moment is a share of the input that is
stored, or of the tasks that are done, so it does not depend on how busy the machine is.

Takes root, a Docker engine, and the image that scripts/batch_run has built (MR_IMAGE names
another).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import container_hurting as hurting
import measure
import words
from container_cluster import ROOT, Cluster, Container, docker
from container_hurting import FAULTS
from map_reduce.client.asking import ENDED
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import GetNode, Node
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.server.configs import ClusterConfig

NODES = 5
NODES_OF_PARTITION = 6
RESULT_S_MAX = 600.0
COPIES_S_MAX = 150.0
LASTS_S = 8.0
PARTITION_S = 10.0
SENDING = 0.3
"""How often the moment is while the input is sent, where it need not have a master yet."""
COPIES = ClusterConfig().replicas
TRIES_MAX = 3
POLL_S = 0.02
MIXED = tuple(name for name, fault in FAULTS.items() if not fault.setup)
COLUMNS = ("node", "master", "two")
ROWS = {
    **{name: (fault.what, COLUMNS) for name, fault in FAULTS.items()},
    "mixed": ("two of these at once", ("two",)),
    "partition": (f"cut in two halves for {PARTITION_S:g} s", ("two",)),
}
CELLS = [f"{row}:{column}" for row, (_, columns) in ROWS.items() for column in columns]


class TookNoHold(Exception):
    """Nothing was done to the job after all: no fault of its."""


@dataclass
class Cell:
    """What came of the jobs of a cell."""

    times_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    healed_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        count = len(self.times_s) + len(self.failures)
        if not self.times_s:
            return f"0/{count}" if count else "-"
        took = f"{statistics.median(self.times_s):.0f} s, {statistics.median(self.ratios):.1f}"
        right = f"{len(self.times_s)}/{count}"
        return f"{right if not self.failures else f'**{right}**'}, {took}"


class Client:
    """A client process, and what it says."""

    def __init__(self, cluster: Cluster, text: Path, folder: Path, *, inside: bool) -> None:
        self._out, self._err = folder / "client.out", folder / "client.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = cluster.client(
                "benchmarks/container_client.py",
                str(text.relative_to(ROOT)),
                inside=inside,
                output=out.fileno(),
                errors=err.fileno(),
            )
        self._start_s = time.monotonic()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def waited_s(self) -> float:
        return time.monotonic() - self._start_s

    def digest(self) -> tuple[str, float]:
        """Wait for the answer; with the seconds it took. Raises AssertionError: there is none."""
        try:
            status = self._process.wait(max(1.0, RESULT_S_MAX - self.waited_s()))
            took_s = self.waited_s()
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no answer after {RESULT_S_MAX:g} s") from None
        finally:
            self.end()
        lines = self._out.read_text().splitlines()
        assert status == 0, f"ended with {status}: {self._err.read_text()[-1500:]}"
        said = json.loads(lines[-1])
        return said["digest"], took_s - said["hashing_s"]

    def end(self) -> None:
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15.0)
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Ring:
    """A ring of containers of one row, and the jobs that run on it one after another."""

    def __init__(self, row: str, text: Path, expected: str, folder: Path) -> None:
        self._row = row
        self._text = text
        self._expected = expected
        self._folder = folder
        settings = {"MR_SLOTS": "1"}
        if row in FAULTS and FAULTS[row].setup:
            settings["MR_RUN_OPTIONS"] = FAULTS[row].setup
        image = os.environ.get("MR_IMAGE", "map-reduce")
        network = os.environ.get("MR_NETWORK", "distributed")
        self.cluster = Cluster(
            f"faults-{os.getpid()}", folder, image=image, network=network, **settings
        )
        nodes = NODES_OF_PARTITION if row == "partition" else NODES
        self.cluster.start(nodes, "--no-remove")
        try:
            self.nodes = [self.cluster.inspect(name) for name in self.cluster.containers()]
            self._access = self.cluster.access(self.addresses)
            self.undisturbed_s = self.job(inside=False)
        except BaseException:
            self.cluster.end()
            raise

    @property
    def addresses(self) -> list[Address]:
        return [node.address for node in self.nodes]

    def end(self) -> None:
        self._access.close()
        self.cluster.end()

    def logs(self) -> str:
        """The last lines of every node."""
        names = [one.name for one in self.nodes]
        tails = (docker("logs", "--tail", "15", name, check=False) for name in names)
        return "\n".join(f"--- {name}\n{tail}" for name, tail in zip(names, tails, strict=True))

    def job(self, *, inside: bool) -> float:
        """Seconds that one takes to which nothing is done. Raises AssertionError: it is wrong."""
        client = Client(self.cluster, self._text, self._folder, inside=inside)
        return self._check(client)

    def hurt(self, column: str, draw: random.Random, *, inside: bool, told: list[str]) -> float:
        """Seconds that a job takes to which something is done.

        Raises:
            TookNoHold: nothing was done to it after all.
            AssertionError: its answer is wrong, or it has none.
        """
        client = Client(self.cluster, self._text, self._folder, inside=inside)
        told.append(f"the client runs {'in a container' if inside else 'on this machine'}")
        try:
            self._await_moment(column, draw, client, told)
            with self._hurting(column, draw, client, told) as (took_hold, lasts_s):
                if lasts_s is None:
                    took_s = self._check(client)
                else:
                    self._await(client, client.waited_s() + lasts_s)
                effect = took_hold()
                told.append(f"{client.waited_s():6.1f} s  it took hold: {effect}")
            told.append(f"{client.waited_s():6.1f} s  all is undone")
            if lasts_s is not None:
                took_s = self._check(client)
            if not effect:
                raise TookNoHold("; ".join(told))
            return took_s
        finally:
            client.end()

    def heal(self) -> float:
        """Seconds until the ring is whole again with all copies. Raises ClusterError."""
        start_s = time.monotonic()
        self.cluster.await_copies(self.addresses, COPIES_S_MAX)
        return time.monotonic() - start_s

    # ------------------------------------------------------------------ inside

    def _check(self, client: Client) -> float:
        digest, took_s = client.digest()
        assert digest == self._expected, "the answer differs"
        return took_s

    def _await(self, client: Client, until_s: float) -> None:
        """Until so many seconds after the client's start, or its end."""
        never = threading.Event()
        while client.waited_s() < until_s and not client.ended:
            never.wait(POLL_S)

    @contextlib.contextmanager
    def _hurting(
        self, column: str, draw: random.Random, client: Client, told: list[str]
    ) -> Iterator[tuple[Callable[[], str], float | None]]:
        """Something is done; yields what says whether it took hold, and how long it lasts."""
        if self._row == "partition":
            order = draw.sample(self.nodes, len(self.nodes))
            half = order[: len(order) // 2], order[len(order) // 2 :]
            told.append(f"{client.waited_s():6.1f} s  {_names(half[0])} | {_names(half[1])}")
            hurting.cut(*half)
            try:
                yield lambda: hurting.packets_cut(half[0]), PARTITION_S
            finally:
                hurting.mend(*half)
            return
        lasts_s = draw.choice((None, LASTS_S))
        victims = self._victims(column, draw, client)
        names = draw.sample(MIXED, 2) if self._row == "mixed" else [self._row] * len(victims)
        pairs = [(FAULTS[name], one) for name, one in zip(names, victims, strict=True)]
        for name, one in zip(names, victims, strict=True):
            told.append(f"{client.waited_s():6.1f} s  {name} {one.name}, {lasts_s or 'to the end'}")
        done: list[tuple[hurting.Fault, Container]] = []
        try:
            for fault, one in pairs:
                fault.hurt(one)
                done.append((fault, one))
            yield lambda: _all_of([fault.took_hold(one) for fault, one in pairs]), lasts_s
        finally:
            for fault, one in done:
                fault.heal(one)

    def _victims(self, column: str, draw: random.Random, client: Client) -> list[Container]:
        if column == "two":
            return draw.sample(self.nodes, 2)
        master = self._master(client)
        if column == "master":
            return [master]
        return [draw.choice([node for node in self.nodes if node != master])]

    def _await_moment(
        self, column: str, draw: random.Random, client: Client, told: list[str]
    ) -> None:
        """Until a drawn share of the input is stored, or of the tasks is done."""
        while_sending = draw.random() < SENDING and column not in ("node", "master")
        share = draw.uniform(0.0, 0.8)
        what = "the input is stored" if while_sending else "the tasks are done"
        told.append(f"at {share:.0%} of what is to be done until {what}")
        never = threading.Event()
        while not client.ended:
            nodes = self._ask_all()
            if while_sending:
                copies = min(len(self.nodes), COPIES)
                wanted = self._text.stat().st_size * copies
                done = sum(node.block_bytes for node in nodes.values()) / wanted
            else:
                done = max((_share_done(node) for node in nodes.values()), default=-1.0)
            if done >= share:
                return
            never.wait(POLL_S)
        raise TookNoHold("the job was over before its moment was seen")

    def _ask_all(self) -> dict[Container, Node]:
        """What each node that answers says of itself."""
        found = {}
        for one in self.nodes:
            with contextlib.suppress(ClusterError):
                found[one] = self._access.peers.request(one.address, GetNode(), Node)
        return found

    def _master(self, client: Client) -> Container:
        while not client.ended:
            for one, node in self._ask_all().items():
                if _share_done(node) >= 0.0:
                    return one
        raise TookNoHold("the job was over before a master was found")


def _share_done(node: Node) -> float:
    """Of the tasks of the job that it is the master of; -1 where it is of none."""
    for job in node.jobs:
        progress = job.progress
        total = progress.map_tasks_total + progress.reduce_tasks_total
        if progress.phase not in ENDED and total:
            return (progress.map_tasks_done + progress.reduce_tasks_done) / total
    return -1.0


def _names(nodes: Sequence[Container]) -> str:
    return " ".join(node.name.rpartition("-")[2] for node in nodes)


def _all_of(effects: Sequence[str]) -> str:
    """ "" unless each took hold."""
    return " and ".join(effects) if all(effects) else ""


def sequential_digest(text: Path) -> str:
    """Of one loop over the lines, without the library."""
    counts: collections.Counter[str] = collections.Counter()
    with text.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file):
            for word, count in words.map(number, line.rstrip("\n")):
                counts[word] += count
    return measure.digest_of(counts)


class Table:
    """The cells, filled one after another."""

    def __init__(self, options: argparse.Namespace, expected: str, folder: Path) -> None:
        self.cells: dict[str, Cell] = {name: Cell() for name in options.cells}
        self.undisturbed_s: dict[str, list[float]] = collections.defaultdict(list)
        self._options = options
        self._expected = expected
        self._folder = folder
        self._ring: Ring | None = None

    def fill(self) -> None:
        """Round after round, so that a busy minute of the machine does not hit one row alone."""
        try:
            for number in range(self._options.times):
                for row in ROWS:
                    for name in self.cells:
                        if name.startswith(f"{row}:"):
                            self._fill(name, number)
                    self._end_ring()
                self.show()
        finally:
            self._end_ring()

    def _fill(self, name: str, number: int) -> None:
        row, column = name.split(":")
        cell = self.cells[name]
        for attempt in range(TRIES_MAX):
            if self._ring is None:
                self._ring = Ring(row, self._options.text, self._expected, self._folder)
                self.undisturbed_s[row].append(self._ring.undisturbed_s)
                print(f"{row}: undisturbed {self._ring.undisturbed_s:.1f} s", flush=True)
            seed = f"{self._options.seed}/{name}/{number}/{attempt}"
            if self._run(self._ring, name, column, seed, cell, inside=number % 2 == 1):
                break
        else:
            cell.failures.append(f"{name}, {number}: it never took hold")
        print(f"{name}: {cell}", flush=True)

    def _run(
        self, ring: Ring, name: str, column: str, seed: str, cell: Cell, *, inside: bool
    ) -> bool:
        """One job; whether it counts."""
        told: list[str] = []
        try:
            took_s = ring.hurt(column, random.Random(seed), inside=inside, told=told)
            healed_s = ring.heal()
        except TookNoHold as reason:
            print(f"    not counted: {reason}", flush=True)
            with contextlib.suppress(MapReduceError):
                ring.heal()
                return False
            self._end_ring()
            return False
        except (MapReduceError, AssertionError) as error:
            replay = f"python benchmarks/container_faults.py {name} --seed {self._options.seed}"
            note = "\n".join([f"{seed}: {error}", *told, f"again: {replay}", ring.logs()])
            cell.failures.append(note)
            print(f"FAILED {note}", flush=True)
            if self._options.notes is not None:
                with self._options.notes.open("a") as notes:
                    notes.write(f"\n## {note}\n")
            self._end_ring()
            return True
        cell.times_s.append(took_s)
        cell.ratios.append(took_s / ring.undisturbed_s)
        cell.healed_s.append(healed_s)
        story = "; ".join(line.strip() for line in told)
        print(f"    {took_s:5.1f} s, whole {healed_s:.1f} s later: {story}", flush=True)
        return True

    def _end_ring(self) -> None:
        if self._ring is not None:
            self._ring.end()
            self._ring = None

    def show(self) -> None:
        """For docs/reliability.md."""
        print("\n| what | undisturbed | node | master | two | whole again |")
        print("|---" * 6 + "|")
        for row, (what, _) in ROWS.items():
            cells = {c: self.cells.get(f"{row}:{c}") for c in COLUMNS}
            if not any(cells.values()):
                continue
            healed = [s for cell in cells.values() if cell is not None for s in cell.healed_s]
            undisturbed_s = self.undisturbed_s[row]
            before = f"{statistics.median(undisturbed_s):.0f} s" if undisturbed_s else "-"
            after = f"{statistics.median(healed):.0f} s" if healed else "-"
            texts = [str(cells[column] or "-") for column in COLUMNS]
            print(f"| {what} | {before} | {' | '.join(texts)} | {after} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(CELLS)}")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--notes", type=Path, help="file to add each failure to")
    options = parser.parse_args()
    options.cells = options.cells or CELLS
    unknown = set(options.cells) - set(CELLS)
    if unknown:
        parser.error(f"no cell {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
    if os.geteuid():
        parser.error("this takes root, for what it does to networks")
    options.text = ROOT / "benchmarks" / "data" / f"text-{options.megabytes}.txt"
    make = [sys.executable, str(measure.HERE / "real_text.py"), "--output", str(options.text)]
    measure.run([*make, "--megabytes", str(options.megabytes)], os.environ)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    print(measure.describe_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="container-faults-") as folder:
        table = Table(options, sequential_digest(options.text), Path(folder))
        table.fill()
    return 1 if any(cell.failures for cell in table.cells.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
