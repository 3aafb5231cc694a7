"""Blocks as files.

A block's file holds its bytes and nothing else, so that a worker process can read it in place;
what else is to be known stands in the file's name: digest, size and the block's own name,
percent-quoted. A file is written as ``….part`` and renamed once it is whole and checked, so a
name without that ending is a whole block, also after a crash.

**A lasting folder.** Its store finds its blocks again when it is opened, but for map outputs,
which have no digest to trust them by and can be made again. A block counts as kept only once the
disk has it: file and folder are synchronised (``fsync``) before ``put_piece`` says so. In a
temporary folder, which does not outlive its node, nothing is synchronised.

**Damage.** A file whose bytes do not match the digest in its name is moved to the folder
``set-aside``, with a line in the log, and is no block any more. A wrong length is seen when the
store is opened, the rest by ``verify``. What is in there is for people to look at and delete.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from map_reduce.core.blocks.pieces import Pieces
from map_reduce.core.digests import DIGEST_BYTES, PIECE_BYTES, new_digest
from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockCorruptError, BlockMissingError, ConfigError
from map_reduce.storage.folder import sync_path
from map_reduce.storage.memory import unwatched

log = logging.getLogger(__name__)

PART = ".part"
SET_ASIDE = "set-aside"


class _Partial(NamedTuple):
    ref: BlockRef
    pieces: Pieces


class DiskBlockStore:
    """A BlockStore over a folder.

    Args:
        folder: made if missing. One store at a time may use it.
        temporary: delete the folder on close, and don't make sure of what is in it before.

    Raises:
        ConfigError: the folder can't be made or written to.
    """

    def __init__(self, folder: Path, *, temporary: bool) -> None:
        self._folder = folder
        self._temporary = temporary
        self._lock = threading.Lock()
        self._partial: dict[str, _Partial] = {}
        self._whole: dict[str, BlockRef] = {}
        self._changed: Callable[[str], None] = unwatched
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._find_blocks()
        except OSError as error:
            raise ConfigError(f"cannot keep blocks in {folder}: {error.strerror}") from error

    def _find_blocks(self) -> None:
        for path in [*self._folder.iterdir()]:
            ref = _ref_of(path)
            if path.name.endswith(PART) or (ref is not None and not ref.digest):
                path.unlink()
            elif ref is not None:
                size_bytes = path.stat().st_size
                if size_bytes == ref.size_bytes:
                    self._whole[ref.name] = ref
                else:
                    self._set_aside(ref, f"it has {size_bytes} bytes, not {ref.size_bytes}")

    def put_piece(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        # One lock for all: pieces of 1 MiB go to the page cache in a fraction of a millisecond.
        with self._lock:
            if ref.name in self._whole:
                return True
            partial = self._partial.get(ref.name)
            path = self._path(ref)
            part = path.with_name(_part_name(ref))
            if partial is None or partial.ref != ref:
                part.touch()  # first: where that fails, nothing of it is to be remembered
                partial = _Partial(ref, Pieces(ref.size_bytes))
                self._partial[ref.name] = partial
            partial.pieces.add(offset, len(data))
            with open(part, "r+b") as file:
                file.seek(offset)
                file.write(data)
            if not partial.pieces.complete:
                return False
            del self._partial[ref.name]
            if digest_of_file(part) != ref.digest:
                part.unlink()
                raise BlockCorruptError(f"the bytes received for block {ref.name} are damaged")
            self._sync(part)
            part.rename(path)
            self._sync(self._folder)
            self._add(ref)
            return True

    def adopt_file(self, ref: BlockRef, path: Path) -> None:
        target = self._path(ref)
        try:
            path.rename(target)
        except OSError:  # another file system
            part = target.with_name(_part_name(ref))
            shutil.copyfile(path, part)
            part.rename(target)
            path.unlink()
        if ref.digest:  # not a map output, which is made again where it is lost
            self._sync(target)
            self._sync(self._folder)
        with self._lock:
            self._add(ref)

    def adopt_bytes(self, ref: BlockRef, data: bytes) -> None:
        part = self._path(ref).with_name(_part_name(ref))
        with open(part, "wb") as file:  # buffered: only then a short write is an error
            file.write(data)
        self.adopt_file(ref, part)

    def bytes_of(self, name: str) -> bytes | None:
        return None

    def read(self, name: str, offset: int, length_bytes: int) -> tuple[bytes, int]:
        path = self.path_of(name)
        try:
            if path is None:
                raise FileNotFoundError
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(length_bytes), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise BlockMissingError(f"there is no block {name} here") from None

    def path_of(self, name: str) -> Path | None:
        with self._lock:
            ref = self._whole.get(name)
        return None if ref is None else self._path(ref)

    def knows(self, name: str) -> bool:
        """Whether the block, or a part of it, is here."""
        with self._lock:
            return name in self._whole or name in self._partial

    def delete_prefix(self, prefix: str) -> int:
        with self._lock:
            whole = [ref for name, ref in self._whole.items() if name.startswith(prefix)]
            partial = [p.ref for name, p in self._partial.items() if name.startswith(prefix)]
            for ref in (*whole, *partial):
                self._remove(ref.name)
        return len(whole) + len(partial)

    def discard(self, name: str) -> None:
        with self._lock:
            self._remove(name)

    def verify(self, name: str) -> BlockRef | None:
        with self._lock:
            ref = self._whole.get(name)
        if ref is None or not ref.digest:
            return None
        try:
            if digest_of_file(self._path(ref)) == ref.digest:
                return None
            what = "its bytes do not match its digest"
        except FileNotFoundError:
            what = "its file is gone"
        except OSError as error:
            what = f"its file cannot be read: {error.strerror}"
        with self._lock:
            if self._whole.get(name) is not ref:
                return None  # deleted meanwhile
            del self._whole[name]
            self._changed(name)
            self._set_aside(ref, what)
        return ref

    def refs(self) -> tuple[BlockRef, ...]:
        with self._lock:
            return tuple(ref for ref in self._whole.values() if ref.digest)

    def ref_of(self, name: str) -> BlockRef | None:
        with self._lock:
            ref = self._whole.get(name)
        return ref if ref is not None and ref.digest else None

    def watch(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def usage(self) -> tuple[int, int]:
        with self._lock:
            return len(self._whole), sum(ref.size_bytes for ref in self._whole.values())

    def close(self) -> None:
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, ref: BlockRef) -> None:
        self._whole[ref.name] = ref
        self._changed(ref.name)

    def _remove(self, name: str) -> None:
        whole, partial = self._whole.pop(name, None), self._partial.pop(name, None)
        if whole is not None:
            self._path(whole).unlink(missing_ok=True)
            self._changed(name)
        if partial is not None:
            self._path(partial.ref).with_name(_part_name(partial.ref)).unlink(missing_ok=True)

    def _set_aside(self, ref: BlockRef, what: str) -> None:
        path, folder = self._path(ref), self._folder / SET_ASIDE
        try:
            folder.mkdir(exist_ok=True)
            path.replace(folder / path.name)
        except OSError as error:
            log.error(
                "block %s is damaged (%s); could not move %s: %s", ref.name, what, path, error
            )
        else:
            log.error("block %s is damaged (%s); %s is now in %s", ref.name, what, path, folder)

    def _sync(self, path: Path) -> None:
        """Return once the disk has what was written, or what a folder names."""
        if not self._temporary:
            sync_path(path)

    def _path(self, ref: BlockRef) -> Path:
        return self._folder / _file_name(ref)


def digest_of_file(path: Path) -> bytes:
    """The digest of a file's bytes, read in pieces."""
    digest = new_digest()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.digest()


@functools.lru_cache(maxsize=1024)
def _file_name(ref: BlockRef) -> str:
    return f"{ref.digest.hex()}-{ref.size_bytes}-{quote(ref.name, safe='')}"


def _part_name(ref: BlockRef) -> str:
    return _file_name(ref) + PART


def _ref_of(path: Path) -> BlockRef | None:
    """The block a file is, by its name; None for files that are none of ours."""
    digest, _, rest = path.name.partition("-")
    size, _, name = rest.partition("-")
    if not (name and size.isdigit() and len(digest) in (0, 2 * DIGEST_BYTES)):
        return None
    try:
        return BlockRef(unquote(name), int(size), bytes.fromhex(digest))
    except ValueError:
        return None
