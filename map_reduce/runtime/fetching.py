"""Bringing what an attempt needs into local files, before it takes a slot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from map_reduce.core.messages import (
    AttemptId,
    CheckWork,
    MapWork,
    ReduceWork,
    SampleWork,
    StartAttempt,
    WholeWork,
    block_of,
)
from map_reduce.ports import BlockStore, LocalInput, LocalSource
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.shuffling import Shuffling


class Fetcher:
    """Fetches for the attempts of one node.

    Args:
        links: for map outputs; their owner closes them.
        scratch: a folder for fetched files; its owner deletes it.
        wanted: whether an attempt still is.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        peers: Peers,
        blocks: RingBlocks,
        store: BlockStore,
        links: Links,
        scratch: Path,
        wanted: Callable[[StartAttempt], bool],
        now_s: Callable[[], float],
    ) -> None:
        self._blocks = blocks
        self._shuffling = Shuffling(peers, store, links, wanted, now_s)
        self._scratch = scratch
        self._made: set[AttemptId] = set()  # those that have a folder

    def _job_folder(self, job_id: str) -> Path:
        """What is fetched for a job, or a check, is in there, whatever it is called: a folder of
        this node's own, which may be deleted as a whole."""
        return self._scratch / f"of-{quote(job_id, safe='')}"

    def folder(self, order: StartAttempt) -> Path:
        """What is fetched for an attempt is in there."""
        attempt = order.attempt
        return (
            self._job_folder(attempt.job_id)
            / f"{attempt.phase}-{attempt.task}.{attempt.epoch}.{attempt.number}"
        )

    def forget(self, order: StartAttempt) -> None:
        """Delete what was fetched for an attempt alone."""
        if order.attempt in self._made:
            self._made.discard(order.attempt)
            shutil.rmtree(self.folder(order), ignore_errors=True)

    def stop(self, attempt: AttemptId) -> None:
        """End the fetching of map outputs for it."""
        self._shuffling.stop(lambda one: one == attempt)

    def close(self) -> None:
        """End the fetching of map outputs, now and from now on."""
        self._shuffling.close()

    def forget_job(self, job_id: str) -> None:
        """End the fetching of its map outputs, and delete all that was fetched for a job, or a
        check."""
        self._shuffling.stop(lambda attempt: attempt.job_id == job_id)
        for attempt in [attempt for attempt in tuple(self._made) if attempt.job_id == job_id]:
            self._made.discard(attempt)
        shutil.rmtree(self._job_folder(job_id), ignore_errors=True)

    def _make_folder(self, order: StartAttempt) -> Path:
        self._made.add(order.attempt)
        folder = self.folder(order)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def at_hand(self, order: StartAttempt) -> LocalInput | None:
        """All the work needs, where nothing has to be fetched; at once."""
        work, functions = order.work, None
        if not isinstance(work, MapWork | WholeWork) or block_of(work.split) is not None:
            return None
        if order.functions.ref is not None:
            functions = self._functions_path(order)
            if not functions.exists():
                return None
        return LocalInput(functions)

    def fetch(self, order: StartAttempt) -> LocalInput:
        """Bring all the work needs into local files.

        Raises:
            LostSource: a map output can't be fetched.
            MapReduceError: a block can't be, or nobody wants the attempt any more.
        """
        functions = self._fetch_functions(order)
        work = order.work
        if isinstance(work, ReduceWork):
            sources = self._shuffling.fetch(order, work, lambda: self._make_folder(order))
            return LocalInput(functions, None, sources)
        if isinstance(work, CheckWork):
            return LocalInput(functions)
        if isinstance(work, SampleWork):
            return LocalInput(functions, None, self._fetch_splits(order, work))
        block = block_of(work.split)
        if block is not None:
            folder = self._make_folder(order)
            return LocalInput(functions, self._blocks.fetch(block, folder / "split"))
        return LocalInput(functions)

    def _fetch_functions(self, order: StartAttempt) -> Path | None:
        if order.functions.ref is None:
            return None
        path = self._functions_path(order)
        if path.exists():
            return path
        folder = self._make_folder(order)
        fetched = self._blocks.fetch(order.functions.ref, folder / "functions")
        if fetched.parent == folder:  # not this node's own copy of the block
            fetched = fetched.replace(path)  # attempts that fetched it at once overwrite equals
        return fetched

    def _functions_path(self, order: StartAttempt) -> Path:
        return self._job_folder(order.attempt.job_id) / "functions"

    def _fetch_splits(self, order: StartAttempt, work: SampleWork) -> tuple[LocalSource, ...]:
        """A file for each split, which is nowhere where it is no block."""
        found = []
        for number, split in enumerate(work.splits):
            path = Path()
            if (block := block_of(split)) is not None:
                path = self._blocks.fetch(block, self._make_folder(order) / f"split-{number}")
            found.append(LocalSource(path, 0, 0))
        return tuple(found)
