"""What the user passes as data: files, or items, or (key, value) pairs.

=====================================  =======================================================
a str or a Path                        a file, or a pattern for several: ``map(line_number, line)``
a list or tuple of Paths               these files
:class:`map_reduce.job.Files`          files, with an encoding
a mapping                              ``map(key, value)``
a job's handle                         ``map(key, result)`` of what it results in
a :class:`.dataset.Dataset`            as what it was made of
a list or tuple with one of these two  several inputs, one after another
any other iterable                     ``map(index, item)``, indices from 0
=====================================  =======================================================

Files come in the order given, the matches of a pattern in the order of their names. A file
named twice is read twice.
"""

from __future__ import annotations

import codecs
import glob
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from map_reduce.core.messages import Split, TextFormat
from map_reduce.errors import (
    InputEncodingError,
    InputMissingError,
    InputTypeError,
    InputUnreadableError,
    shortened,
)
from map_reduce.job import Files

_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}


class ItemInput(msgspec.Struct, frozen=True):
    """Items, or (key, value) pairs where ``keyed``. ``length`` is None where unknown.

    An iterator among them can be gone through once.
    """

    records: Iterable[Any]
    keyed: bool
    length: int | None


class FileInput(msgspec.Struct, frozen=True):
    """Files that exist, as absolute paths, with what is needed to read lines from them."""

    paths: tuple[str, ...]
    encoding: str = "utf-8"
    errors: str = "strict"

    def format_of(self, path: str) -> TextFormat:
        """How the bytes of ``path`` become lines; the compression is told by its ending."""
        ending = os.path.splitext(path)[1].lower()
        return TextFormat(self.encoding, self.errors, _COMPRESSIONS.get(ending, ""))


class RingInput(msgspec.Struct, frozen=True):
    """Splits that are in the ring already, and stay what they are."""

    splits: tuple[Split, ...]


Source = ItemInput | FileInput | RingInput


class InRing:
    """Something of a client's that lies in the ring and can be the input of jobs.

    As long as a job that reads it has not ended, it is not deleted: that is then made up for.
    """

    def __init__(self) -> None:
        self._lock_of_uses = threading.Lock()
        self._uses = 0
        self._unwanted = False

    def as_source(self) -> Source:
        """What a job is to read; waits until it is there."""
        raise NotImplementedError

    def hold(self) -> None:
        """A job reads it from now on."""
        with self._lock_of_uses:
            self._uses += 1

    def let_go(self) -> None:
        """That job has ended."""
        with self._lock_of_uses:
            self._uses -= 1
            due = self._unwanted and not self._uses
        if due:
            self._delete()

    def release(self) -> None:
        """Let the cluster delete it: at once, or when the jobs that read it have ended."""
        with self._lock_of_uses:
            self._unwanted = True
            due = not self._uses
        if due:
            self._delete()

    def _delete(self) -> None:
        raise NotImplementedError


def as_several(data: Any) -> Sequence[Any]:
    """The inputs that ``data`` is: one, or several where it is a list or tuple in which results of
    other jobs or datasets are. Each of its elements is then what it would be if given alone."""
    if isinstance(data, list | tuple) and any(
        issubclass(kind, InRing) for kind in set(map(type, data))
    ):
        return data
    return (data,)


def held(data: Any) -> list[InRing]:
    """Of the inputs those that lie in the ring: each is held, and is to be let go."""
    reads = [part for part in as_several(data) if isinstance(part, InRing)]
    for part in reads:
        part.hold()
    return reads


def read_inputs(data: Any) -> list[Source]:
    """All of :func:`as_several`. Raises as :func:`read_input`, and as :meth:`InRing.as_source`."""
    return [
        part.as_source() if isinstance(part, InRing) else read_input(part)
        for part in as_several(data)
    ]


def read_input(data: Any) -> ItemInput | FileInput:
    """Tell what ``data`` is. Opens no file and takes nothing from an iterator.

    Raises:
        InputTypeError: it is neither files, nor a mapping, nor an iterable.
        InputMissingError: a file does not exist, or a pattern matches none.
        InputUnreadableError: a path is a directory or something else that is not a file.
        InputEncodingError: there is no such encoding, or no such way to treat errors.
    """
    if isinstance(data, Files):
        if not data.paths:
            raise InputTypeError("Files() names no file; pass paths, as in Files('a.txt', 'b.txt')")
        _check_encoding(data.encoding, data.errors)
        return FileInput(tuple(_files(data.paths)), data.encoding, data.errors)
    if isinstance(data, str | os.PathLike):
        return FileInput(tuple(_files((data,))))
    if isinstance(data, bytes | bytearray | memoryview):
        raise InputTypeError(
            f"the input is {type(data).__name__}, which could mean many things; pass "
            "data.decode().splitlines() for its lines, [data] for one item, "
            "or the path of a file as a str"
        )
    if isinstance(data, Mapping):
        return ItemInput(data.items(), keyed=True, length=len(data))
    if isinstance(data, list | tuple):
        paths = _paths_among(data)
        if paths:
            return FileInput(tuple(_files(paths)))
        return ItemInput(data, keyed=False, length=len(data))
    try:
        iter(data)
    except TypeError:
        raise InputTypeError(
            f"the input is of type {type(data).__name__}; pass a list or another iterable of "
            "items, a mapping, the path of a file, or map_reduce.job.Files(...)"
        ) from None
    try:
        length = len(data)
    except TypeError:
        length = None
    return ItemInput(data, keyed=False, length=length)


def stat_file(path: str) -> os.stat_result:
    """The file's status.

    Raises:
        InputMissingError: there is none.
        InputUnreadableError: it is not a regular file.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise InputMissingError(
                f"{path!r} is a link to {os.readlink(path)!r}, which does not exist"
            ) from None
        raise InputMissingError(f"no file {path!r}") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputUnreadableError(
            f"{path!r} is a directory; for the files in it pass {os.path.join(path, '*')!r}, "
            f"for those in its subdirectories too {os.path.join(path, '**', '*')!r}"
        )
    if not stat.S_ISREG(status.st_mode):
        raise InputUnreadableError(
            f"{path!r} is not a regular file; to read it here, pass its lines: open({path!r})"
        )
    return status


def unreadable(path: str, error: OSError) -> InputUnreadableError:
    """The error to raise for an ``OSError`` met while reading ``path``."""
    return InputUnreadableError(f"cannot read {path!r}: {error.strerror or error}")


def _paths_among(data: list[Any] | tuple[Any, ...]) -> list[os.PathLike[str]]:
    """``data`` where all of it is Paths, nothing where none is.

    Raises:
        InputTypeError: some are and some are not.
    """
    kinds = set(map(type, data))
    if Files in kinds:
        raise InputTypeError(
            "the input has Files(...) among its items; name all files in one: Files('a', 'b')"
        )
    of_paths = {kind for kind in kinds if issubclass(kind, os.PathLike)}
    if not of_paths:
        return []
    if of_paths != kinds:
        index = next(i for i, item in enumerate(data) if type(item) not in of_paths)
        raise InputTypeError(
            f"some items of the input are paths, but item {index} is of type "
            f"{type(data[index]).__name__}; pass Paths only to read files, or, to map the paths "
            "themselves, str(path)"
        )
    return list(data)


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    for path in paths:
        yield from _matches(os.fsdecode(path))


def _matches(path: str) -> list[str]:
    """The file itself, or what matches where it is a pattern and no file of that name exists."""
    try:
        exists = os.path.lexists(path)
    except ValueError:  # a null character
        exists = False
    if exists:
        return [_absolute(path)]
    if not glob.has_magic(path):
        raise InputMissingError(
            f"no file {shortened(path, 300)!r}{_where(path)}; to map the text itself, "
            "pass a list: [text]"
        )
    found = sorted(glob.glob(path, recursive=True))
    files = [_absolute(match) for match in found if not os.path.isdir(match)]
    if not files:
        what = "only directories" if found else "no file"
        raise InputMissingError(
            f"the pattern {shortened(path, 300)!r} matches {what}{_where(path)}; to map the "
            "text itself, pass a list: [text]"
        )
    for file in files:
        stat_file(file)
    return files


def _where(path: str) -> str:
    return "" if os.path.isabs(path) else f" in {os.getcwd()!r}"


def _check_encoding(encoding: str, errors: str) -> None:
    try:
        "".encode(encoding)
        b"".decode(encoding)
    except (LookupError, ValueError):  # a UnicodeError and a null character are ValueErrors
        raise InputEncodingError(
            f"{encoding!r} is not a text encoding that Python knows; try 'utf-8' or 'latin-1'"
        ) from None
    try:
        codecs.lookup_error(errors)
    except (LookupError, ValueError):
        raise InputEncodingError(
            f"errors={errors!r} is no way to treat bytes that are not valid; it may be 'strict', "
            "'replace', 'ignore', 'backslashreplace' or 'surrogateescape'"
        ) from None


def _absolute(path: str) -> str:
    """The regular file's path from the root.

    Raises:
        InputMissingError, InputUnreadableError: see :func:`stat_file`.
        InputUnreadableError: its name cannot be sent to nodes, as it is not text.
    """
    absolute = os.path.abspath(path)
    stat_file(absolute)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise InputUnreadableError(
            f"the name of {os.fsencode(absolute)!r} is not valid UTF-8, so it cannot be sent to "
            "the workers; rename the file, or run Python in a UTF-8 locale"
        ) from None
    return absolute
