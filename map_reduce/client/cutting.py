"""From an input to splits: what is small inline, files where they lie, all else in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from map_reduce.client.inputs import FileInput, ItemInput, RingInput, Source, stat_file
from map_reduce.client.items import item_chunks
from map_reduce.client.sample import SampleInput
from map_reduce.client.text import SPLIT_BYTES_MIN, TextBlock, file_blocks, file_plan
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    BlockItems,
    BlockRef,
    BlockText,
    CheckFiles,
    FilesSeen,
    FileStamp,
    InlineItems,
    Split,
    size_bytes_of,
)
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access

INLINE_BYTES_MAX = 64 * 1024
STAMPS_PER_MESSAGE_MAX = 2_000


class Cut(NamedTuple):
    """The splits of an input, the nodes that can open its files (none: no files), its bytes."""

    splits: tuple[Split, ...]
    readers: tuple[Member, ...]
    input_bytes: int


class Cutter:
    """Cuts inputs for one job.

    Args:
        slots: worker processes in the cluster, which the size of splits goes by.
        put: stores a block of the job's input.
        check: sees to it, before anything big is stored, that the job's functions unpickle.
    """

    def __init__(
        self,
        access: Access,
        slots: int,
        put: Callable[[bytes], BlockRef],
        check: Callable[[], object],
    ) -> None:
        self._access = access
        self._slots = slots
        self._put = put
        self._check = check

    def cut(self, sources: Iterable[Source | SampleInput]) -> Cut:
        """All inputs, one after another.

        Raises InputError, ClusterError, and what ``check`` raises.
        """
        cuts = [self._cut(source) for source in sources]
        return Cut(
            tuple(split for cut in cuts for split in cut.splits),
            next((cut.readers for cut in cuts if cut.readers), ()),
            sum(cut.input_bytes for cut in cuts),
        )

    def store(self, source: ItemInput | FileInput) -> tuple[Split, ...]:
        """All of an input in blocks that outlive a job."""
        if isinstance(source, FileInput):
            texts = map(self._text, file_blocks(source, self._slots))
            return tuple(msgspec.structs.replace(split, lasting=True) for split in texts)
        return tuple(
            BlockItems(self._put(chunk.data), chunk.count, chunk.first_index, chunk.keyed, True)
            for chunk in self._chunks(source)
        )

    def _cut(self, source: Source | SampleInput) -> Cut:
        if isinstance(source, FileInput):
            return self._cut_files(source)
        if isinstance(source, RingInput):
            splits = source.splits
        elif isinstance(source, ItemInput):
            splits = tuple(self._items(self._chunks(source)))
        else:
            splits = tuple(self._sampled(source))
        return Cut(splits, (), sum(map(size_bytes_of, splits)))

    def _chunks(self, source: ItemInput) -> Iterator[InlineItems]:
        return item_chunks(source, self._slots, self._access.cluster.items_per_chunk)

    def _items(self, chunks: Iterator[InlineItems]) -> Iterator[Split]:
        first = next(chunks, None)
        if first is None:
            return
        second = next(chunks, None)
        if second is None and len(first.data) <= INLINE_BYTES_MAX:
            yield first
            return
        if second is not None:
            self._access.expect_work()
        self._check()
        rest: Iterable[InlineItems] = [] if second is None else itertools.chain([second], chunks)
        for chunk in itertools.chain([first], rest):
            yield BlockItems(self._put(chunk.data), chunk.count, chunk.first_index, chunk.keyed)

    def _sampled(self, source: SampleInput) -> Iterator[Split]:
        self._check()
        for piece in source.pieces:
            yield self._text(piece) if isinstance(piece, TextBlock) else piece

    def _text(self, block: TextBlock) -> BlockText:
        ref = self._put(block.data)
        return BlockText(ref, block.path, block.start, block.first_line, block.format)

    def _cut_files(self, files: FileInput) -> Cut:
        if sum(stat_file(path).st_size for path in files.paths) > SPLIT_BYTES_MIN:
            self._access.expect_work()
        plan = file_plan(files, self._slots)
        members = self._access.members()
        if all(self._sees(member, plan.stamps) for member in members):
            return Cut(plan.splits, members, plan.total_bytes)
        self._check()
        splits = tuple(map(self._text, file_blocks(files, self._slots)))
        return Cut(splits, (), sum(map(size_bytes_of, splits)))

    def _sees(self, member: Member, stamps: tuple[FileStamp, ...]) -> bool:
        for start in range(0, len(stamps), STAMPS_PER_MESSAGE_MAX):
            message = CheckFiles(stamps[start : start + STAMPS_PER_MESSAGE_MAX])
            try:
                reply = self._access.peers.request(member.address, message, FilesSeen)
            except ClusterError:
                return False
            if not reply.all_seen:
                return False
        return True
