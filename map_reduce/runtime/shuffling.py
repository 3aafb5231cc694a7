"""Bringing map outputs to the attempts that reduce them.

What is in this node's own files or memory is taken from there, and files of other nodes on the same
machine are read where they are (``same_machine.py``). All else comes over the network, as
``core/fetching`` plans it:

    attempt's thread ── plan ──▶ requests over links, side by side ──▶ other nodes' map outputs
          waits  ◀── complete, or lost ──  their threads write into the attempt's file

- **One bound for the node**: up to three requests are under way to each other node, whoever wants
  them, fewer where they take long, and a bounded number in all (``links.py``).
- **Turns.** An attempt has a place or a few in the lines for the nodes that it needs, and goes to
  the end of the line with each request. So attempts share a link, however much each wants.
- **Who waits.** Attempts' threads wait for those of the links, which wait for nobody but peers,
  with a deadline. An attempt that has failed, or that nobody wants any more, asks for nothing more,
  and its thread waits no longer, even for requests that are under way: what these bring is dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from map_reduce.core.fetching.pace import UNDER_WAY_MAX, timeout_s
from map_reduce.core.fetching.plan import FetchPlan, Run
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptId,
    GetFiles,
    GetRanges,
    Message,
    NoBlock,
    Ranges,
    ReduceWork,
    Source,
    StartAttempt,
)
from map_reduce.errors import (
    BlockMissingError,
    MapReduceError,
    NotListening,
    NotTrusted,
    ProtocolError,
    Refused,
    Unreachable,
)
from map_reduce.ports import BlockStore, LocalSource
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.same_machine import files_of, sources_on_this_machine


class LostSource(MapReduceError):
    """A map output cannot be fetched from the node that should have it."""

    def __init__(self, source: Source, why: MapReduceError) -> None:
        super().__init__(str(why))
        self.source = source


class _Silent(LostSource):
    """It cannot, since the node has answered nothing for long."""


def ranges_of(store: BlockStore, message: GetRanges) -> Message:
    """The answer of the node that has the map outputs."""
    found = []
    for name, offset, length_bytes in message.rows:
        try:
            data, _ = store.read(message.prefix + name, offset, length_bytes)
        except BlockMissingError:
            return NoBlock(message.prefix + name)
        if len(data) < length_bytes:
            return NoBlock(message.prefix + name)
        found.append(data)
    return Ranges(b"".join(found))


def answers_about_map_outputs(
    store: BlockStore, me: Address
) -> dict[type[Message], Callable[[Any], Message]]:
    """What the node at ``me`` answers to those that fetch from it."""
    return {GetRanges: partial(ranges_of, store), GetFiles: partial(files_of, store, me)}


class Shuffling:
    """For the attempts of one node. Safe to use from many threads.

    Args:
        links: their owner closes them.
        wanted: whether an attempt still is.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        peers: Peers,
        store: BlockStore,
        links: Links,
        wanted: Callable[[StartAttempt], bool],
        now_s: Callable[[], float],
    ) -> None:
        self._peers = peers
        self._store = store
        self._links = links
        self._wanted = wanted
        self._now_s = now_s
        self._lock = threading.Lock()
        self._under_way: set[_Haul] = set()
        self._closed = False

    def fetch(
        self, order: StartAttempt, work: ReduceWork, make_folder: Callable[[], Path]
    ) -> tuple[LocalSource, ...]:
        """The work's sources, in its order, in local files.

        Args:
            make_folder: makes the folder for what is in no file of this node, which is put into
                one: to make many takes its time. Called where there is anything of the kind.

        Raises:
            LostSource: one cannot be had.
            Refused: nobody wants the attempt any more.
            OSError: the file cannot be written.
        """
        found: dict[int, LocalSource] = {}
        small: dict[int, bytes] = {}
        elsewhere: list[int] = []
        for number, source in enumerate(work.sources):
            if source.node != self._peers.member.address:
                elsewhere.append(number)
            elif (data := self._store.bytes_of(source.name)) is not None:
                small[number] = data[source.offset : source.offset + source.length_bytes]
                if len(small[number]) < source.length_bytes:
                    raise LostSource(source, _not_here(source))
            elif (path := self._store.path_of(source.name)) is not None:
                found[number] = LocalSource(path, source.offset, source.length_bytes)
            else:
                raise LostSource(source, _not_here(source))
        found |= sources_on_this_machine(self._peers, work, elsewhere, make_folder)
        elsewhere = [number for number in elsewhere if number not in found]
        if small or elsewhere:
            path, at = make_folder() / "sources", 0
            with open(path, "wb") as file:  # buffered: only then a short write is an error
                for number, data in small.items():
                    file.write(data)
                    found[number] = LocalSource(path, at, len(data))
                    at += len(data)
            plan = FetchPlan(work, elsewhere, self._peers.member.address, at)
            self._carry_out(_Haul(order, plan, path, self._now_s()))
            for number, at in plan.places.items():
                found[number] = LocalSource(path, at, work.rows[number][3])
        return tuple(found[number] for number in range(len(work.rows)))

    def stop(self, concerns: Callable[[AttemptId], bool]) -> None:
        """End the fetching for some attempts, which nobody wants any more."""
        with self._lock:
            stopped = [haul for haul in self._under_way if concerns(haul.order.attempt)]
        for haul in stopped:
            haul.fail(Refused("nobody wants the attempt any more"))

    def close(self) -> None:
        """End all fetching, now and from now on; does not wait for requests that are under way."""
        with self._lock:
            self._closed = True
        self.stop(lambda attempt: True)

    def _carry_out(self, haul: _Haul) -> None:
        plan = haul.plan
        if not plan.left_bytes:
            return
        with self._lock:
            closed = self._closed
            self._under_way.add(haul)
        try:
            if closed or not self._wanted(haul.order):  # from here on stop() finds it
                raise Refused("nobody wants the attempt any more")
            for node in plan.nodes:
                places = min(UNDER_WAY_MAX, plan.runs(node, self._links.bytes_max(node)))
                for _ in range(places):
                    self._links.run(node, partial(self._step, haul, node))
            haul.wait()
        finally:
            with self._lock:
                self._under_way.discard(haul)

    # ------------------------------------------------------------------ in threads of the links

    def _step(self, haul: _Haul, node: Address) -> bool:
        """Bring one run; whether to do so once more."""
        try:
            run = haul.take(node, self._links.bytes_max(node))
            if run is None:
                return False
            begun_s = self._now_s()
            try:
                data = self._ask(haul.plan, run)
            except _Silent as silent:
                self._tell_others(silent, node, begun_s)
                raise
            if data is None:
                haul.put_back(run)
            else:
                haul.bring(run, data)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            haul.fail(error)
            return False
        return True

    def _ask(self, plan: FetchPlan, run: Run) -> bytes | None:
        """What the node answers; None where the run is to be asked for again, in smaller ones.

        Raises:
            LostSource: a source in the run, or the node, cannot be had.
        """
        length_bytes = run.length_bytes
        begun_s = self._now_s()
        try:
            reply = self._peers.request(
                run.node,
                plan.request(run),
                Ranges,
                NoBlock,
                timeout_s=timeout_s(length_bytes),
            )
            if isinstance(reply, NoBlock):
                lost = plan.source_called(run, reply.name)
                raise LostSource(lost, _not_here(lost))
            if len(reply.data) != length_bytes:
                raise ProtocolError(
                    f"{run.node} sent {len(reply.data)} bytes of map outputs, asked for "
                    f"{length_bytes}"
                )
        except LostSource:
            raise
        except MapReduceError as error:
            silent = isinstance(error, Unreachable)
            gone = isinstance(error, NotListening | NotTrusted)
            if silent and not gone and self._links.failed(run.node, length_bytes):
                return None
            kind = _Silent if silent and not gone else LostSource
            raise kind(plan.source(run.parts[0].number), error) from error
        self._links.took(run.node, length_bytes, self._now_s() - begun_s)
        return reply.data

    def _tell_others(self, silent: _Silent, node: Address, begun_s: float) -> None:
        """Those who have waited in the node's line all the while have waited long enough: or else
        they would find out one after another, each after as long."""
        with self._lock:
            waiting = [haul for haul in self._under_way if haul.since_s <= begun_s]
        for haul in waiting:
            haul.fail_waiting_for(node, silent)


class _Haul:
    """What one attempt has others bring, until it is complete or cannot be had."""

    def __init__(self, order: StartAttempt, plan: FetchPlan, path: Path, since_s: float) -> None:
        self.order = order
        self.plan = plan
        self.since_s = since_s
        self._path = path
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._error: Exception | None = None

    def take(self, node: Address, bytes_max: int) -> Run | None:
        """What to ask the node for next; None where there is nothing more."""
        with self._lock:
            return None if self._over.is_set() else self.plan.take(node, bytes_max)

    def put_back(self, run: Run) -> None:
        with self._lock:
            self.plan.put_back(run)

    def bring(self, run: Run, data: bytes) -> None:
        """Write a run's bytes.

        The file is opened each time, as long as the attempt waits. So nothing is left open when it
        no longer does, and nobody writes to what is another's by then.
        """
        if self._over.is_set():
            return
        view, at = memoryview(data), run.at
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while view:
                written = os.pwrite(descriptor, view, at)
                view, at = view[written:], at + written
        finally:
            os.close(descriptor)
        with self._lock:
            self.plan.arrived(run)
            if not self.plan.left_bytes:
                self._over.set()

    def fail(self, error: Exception) -> None:
        """It cannot be had, or is not wanted; the first reason counts."""
        with self._lock:
            if not self._over.is_set():
                self._error = error
                self._over.set()

    def fail_waiting_for(self, node: Address, why: LostSource) -> None:
        """Something that is to be asked of the node cannot be had, if there is any."""
        run = self.take(node, 1) if node in self.plan.nodes else None
        if run is not None:
            self.fail(LostSource(self.plan.source(run.parts[0].number), why))

    def wait(self) -> None:
        """Return when all is there. Raises what it failed by."""
        self._over.wait()
        if self._error is not None:
            raise self._error


def _not_here(source: Source) -> BlockMissingError:
    return BlockMissingError(f"{source.node} does not have block {source.name}, or not all of it")
