"""What is asked of a node itself."""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.attempts import Sampled, SampleWork
from map_reduce.core.messages.base import Message, Seconds
from map_reduce.core.messages.figures import Figures
from map_reduce.core.messages.jobs import Failure, Functions, Progress


class FileStamp(msgspec.Struct, frozen=True, array_like=True):
    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int


class CheckFiles(Message, frozen=True):
    """Do you see these very files? -> FilesSeen"""

    files: tuple[FileStamp, ...]


class FilesSeen(Message, frozen=True):
    all_seen: bool


class CheckFunctions(Message, frozen=True):
    """Unpickle these functions in one of your workers, and map ``sample`` by them, if there is
    one. -> Done; ask GetCheck for the verdict"""

    check_id: str
    functions: Functions
    sample: SampleWork | None = None


class GetCheck(Message, frozen=True):
    """-> CheckVerdict, which may be held back for ``hold_s`` until it is ready"""

    check_id: str
    hold_s: Seconds = 0.0


class CheckVerdict(Message, frozen=True):
    ready: bool
    failure: Failure | None
    sampled: Sampled | None = None


class GetNode(Message, frozen=True):
    """-> Node"""


class JobLine(msgspec.Struct, frozen=True, array_like=True):
    job_id: str
    name: str
    progress: Progress
    counters: tuple[tuple[str, int], ...] = ()  # the first few, by name
    skipped: int = 0  # records and keys left out
    epoch: int = 0  # of its master
    waiting_for: tuple[Address, ...] = ()  # members of its record without which it can't go on
    note: str = ""  # for people
    figures: Figures = Figures()  # once it has ended


class Node(Message, frozen=True):
    member: Member
    pid: int
    slots: int
    slots_busy: int
    blocks: int
    block_bytes: int
    jobs: tuple[JobLine, ...]  # those it is master of
    predecessor: Member | None
    successors: tuple[Member, ...]
    python: str
    version: str
    watched: tuple[JobLine, ...] = ()  # phase "watched": it holds them, and is not their master


class StopNode(Message, frozen=True):
    """Leave the ring and exit. -> Done"""
