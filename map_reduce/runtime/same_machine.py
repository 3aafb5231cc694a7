"""Map outputs of other nodes on this machine, read in the files where they lie.

Nodes on loopback are on one machine. Without certificates they are also of one user, who may read
the files of all; with certificates they may be, or not. So a node asks another one on loopback for
its files: the path of each, and which file that is (device, inode, size). It makes a second name
of the file in the attempt's own folder, and looks whether what it has got is what was meant, a
plain file, and this user's. Where any of that fails (another user, a container's own file system,
another disk, a file deleted meanwhile), the bytes are asked for as those of any other node.

The second name keeps the file's bytes until the attempt has ended, whatever its node deletes, and
also when the node dies.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import RANGES_MAX, FilePlace, Files, GetFiles, ReduceWork
from map_reduce.errors import ClusterError
from map_reduce.ports import BlockStore, LocalSource
from map_reduce.runtime.peers import Peers

FILE_BYTES_MIN = 64 << 10
"""Fewer bytes of a map output come more cheaply together with others."""

NOWHERE = FilePlace("", 0, 0, 0)


def files_of(store: BlockStore, me: Address, message: GetFiles) -> Files:
    """The answer of the node that has the map outputs. Elsewhere nobody learns of its paths."""
    if not me.is_loopback:
        return Files(())
    return Files(tuple(_place(store, message.prefix + name) for name in message.names))


def _place(store: BlockStore, name: str) -> FilePlace:
    if store.bytes_of(name) is not None:  # path_of() would write them to disk
        return NOWHERE
    path = store.path_of(name)
    try:
        found = None if path is None else os.stat(path)
    except OSError:
        found = None  # deleted just now
    if found is None:
        return NOWHERE
    return FilePlace(str(path), found.st_dev, found.st_ino, found.st_size)


def sources_on_this_machine(
    peers: Peers, work: ReduceWork, numbers: Iterable[int], make_folder: Callable[[], Path]
) -> dict[int, LocalSource]:
    """Those sources of the work, among these, that can be read where they are.

    Args:
        numbers: of sources of other nodes.
        make_folder: makes the folder for further names of files.
    """
    if not peers.member.address.is_loopback:
        return {}
    of_node: dict[int, list[int]] = {}
    for number in numbers:
        place, _, _, length_bytes = work.rows[number]
        if length_bytes >= FILE_BYTES_MIN and work.nodes[place].is_loopback:
            of_node.setdefault(place, []).append(number)
    found: dict[int, LocalSource] = {}
    for place, asked in of_node.items():
        for begin in range(0, len(asked), RANGES_MAX):
            some = asked[begin : begin + RANGES_MAX]
            message = GetFiles(work.prefix, tuple(work.rows[number][1] for number in some))
            try:
                files = peers.request(work.nodes[place], message, Files).files
            except ClusterError:  # it is asked for the bytes, with more patience
                break
            for number, file in zip(some, files, strict=False):
                _, _, offset, length_bytes = work.rows[number]
                if not file.path or offset + length_bytes > file.size_bytes:
                    continue
                name = make_folder() / f"source-{number}"
                if _is_linked(file, name):
                    found[number] = LocalSource(name, offset, length_bytes)
    return found


def _is_linked(file: FilePlace, name: Path) -> bool:
    """Whether ``name`` now is a name of the file."""
    try:
        os.link(file.path, name, follow_symlinks=False)
        got = os.lstat(name)
    except (OSError, ValueError):  # ValueError: no file can have that name
        return False
    if (
        stat.S_ISREG(got.st_mode)
        and got.st_uid == os.getuid()
        and (got.st_dev, got.st_ino, got.st_size) == (file.device, file.inode, file.size_bytes)
    ):
        return True
    name.unlink()
    return False
