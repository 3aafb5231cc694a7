"""Results as files in a folder: one for each task that made some of them.

A file is written under a name that begins with a dot, and gets its own once all of them are
complete. If that comes to nothing, whatever was written is deleted.

Where a job was started with ``save_as``, its tasks have written what is to be in the files
(``execution/formatted.py``), and each is brought here as it is: a copy on the same machine is
another name of the same file, where the file system allows it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from map_reduce.client.results import Pairs
from map_reduce.core.messages import OutputPart
from map_reduce.errors import OutputError
from map_reduce.formats import encoded, line_of, unfit
from map_reduce.pickling import dumps
from map_reduce.server.access import Access

_SUFFIXES = {
    "jsonl": ".jsonl",
    "text": ".txt",
    "csv": ".csv",
    "lines": ".txt",
    "pickle": ".pickle",
}


def made_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if missing.

    Raises:
        OutputError: there are files in it, or it cannot be made.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = next((entry.name for entry in path.iterdir()), None)
    except OSError as error:
        raise OutputError(f"cannot save results in {path}: {error.strerror}") from error
    if found is not None:
        raise OutputError(f"{path} is not empty (there is {found}); name a folder that is, or none")
    return path


def save(parts: Iterable[Iterable[Pairs]], folder: Path, format: str) -> list[Path]:
    """Write each part, given as some pairs at a time, to a file of its own.

    Raises:
        OutputError: a key or a value cannot be written in this format; names it. Or a file cannot
            be written.
        Exception: whatever ``parts`` raises.
    """
    encode = _encoder(format)

    def write(pieces: Iterable[Pairs], path: Path) -> None:
        with open(path, "wb") as file:
            for pairs in pieces:
                file.write(encode(pairs))

    return _written(parts, write, folder, format)


def save_written(
    parts: Iterable[OutputPart], folder: Path, format: str, access: Access
) -> list[Path]:
    """Bring each part, whose bytes are those of a file in this format, into a file of its own.

    Raises:
        OutputError: a file cannot be written.
        ClusterError: no node that answers has a part.
        Exception: whatever ``parts`` raises.
    """

    def write(part: OutputPart, path: Path) -> None:
        path.write_bytes(part.inline)
        if part.ref is not None:
            own = path.stat()
            access.blocks.fetch(part.ref, path)
            found = path.stat()  # it may be another name of a file of the node's
            if (found.st_uid, found.st_gid) != (own.st_uid, own.st_gid):
                _make_own(path)
            path.chmod(own.st_mode)

    return _written(parts, write, folder, format)


def _make_own(path: Path) -> None:
    """Put a file of this process's in its place: the node's workers, who made it, are others."""
    with open(path, "rb") as made:
        path.unlink()
        with open(path, "wb") as own:
            shutil.copyfileobj(made, own)


T = TypeVar("T")


def _written(
    parts: Iterable[T], write: Callable[[T, Path], None], folder: Path, format: str
) -> list[Path]:
    """All of the files, or none."""
    written: list[tuple[Path, Path]] = []
    renamed = 0
    try:
        for number, part in enumerate(parts):
            path = folder / f"part-{number:05}{_SUFFIXES[format]}"
            unfinished = folder / f".{path.name}.unfinished"
            written.append((unfinished, path))
            write(part, unfinished)
        for unfinished, path in written:
            unfinished.rename(path)
            renamed += 1
    except OSError as error:
        raise OutputError(f"cannot save results in {folder}: {error.strerror}") from error
    finally:
        if renamed < len(written):
            for paths in written:
                for path in paths:
                    path.unlink(missing_ok=True)
    return [path for _, path in written]


def _encoder(format: str) -> Callable[[Pairs], bytes]:
    if format == "pickle":
        return _pickled
    line = line_of(format)
    return lambda pairs: encoded([line(key, value) for key, value in pairs])


def _pickled(pairs: Pairs) -> bytes:
    try:
        return dumps(pairs)
    except MemoryError:
        raise
    except Exception as error:  # a user's __reduce__ may raise anything
        key, value = next((pair for pair in pairs if not _pickles(pair)), pairs[0])
        raise unfit("a pickle", key, value, f"{type(error).__name__}: {error}") from error


def _pickles(pair: Any) -> bool:
    try:
        dumps(pair)
    except Exception:  # noqa: BLE001  as above
        return False
    return True
