"""Results as files in a folder: one for each task that made some of them.

A file is written under a name that begins with a dot, and gets its own once all of them are
complete. If that comes to nothing, whatever was written is deleted.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from map_reduce.client.results import Pairs
from map_reduce.errors import ConfigError, OutputError, shortened
from map_reduce.pickling import dumps

FORMATS = ("jsonl", "text", "csv", "pickle")
_SUFFIXES = {"jsonl": ".jsonl", "text": ".txt", "csv": ".csv", "pickle": ".pickle"}
_SCALARS = (str, int, float, bool, type(None))


def check_format(format: str) -> None:
    """Raises ConfigError where there is no such format."""
    if format not in FORMATS:
        raise ConfigError(f"results can be saved as {', '.join(FORMATS)}, not as {format!r}")


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
    write = _WRITERS[format]
    written: list[tuple[Path, Path]] = []
    renamed = 0
    try:
        for number, pieces in enumerate(parts):
            path = folder / f"part-{number:05}{_SUFFIXES[format]}"
            unfinished = folder / f".{path.name}.unfinished"
            written.append((unfinished, path))
            with open(unfinished, "wb") as file:
                write(pieces, file)
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


def _write_jsonl(pieces: Iterable[Pairs], file: BinaryIO) -> None:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for pairs in pieces:
        lines = []
        for key, value in pairs:
            try:
                lines.append(encode([key, value]))
            except (TypeError, ValueError, RecursionError) as error:
                raise _unfit("JSON", key, value, str(error)) from error
        _write_lines(lines, file)


def _write_text(pieces: Iterable[Pairs], file: BinaryIO) -> None:
    for pairs in pieces:
        lines = []
        for key, value in pairs:
            line = f"{key}\t{value}"
            if "\n" in line or "\r" in line:
                raise _unfit("a line of text", key, value, "it has a line end")
            if "\t" in str(key):
                raise _unfit("a line of text", key, value, "the key has the tab that ends keys")
            lines.append(line)
        _write_lines(lines, file)


def _write_lines(lines: list[str], file: BinaryIO) -> None:
    if lines:
        file.write(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


class _Utf8:
    """What the csv module writes to: text in, bytes out."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode("utf-8", "surrogateescape"))


def _write_csv(pieces: Iterable[Pairs], file: BinaryIO) -> None:
    rows = csv.writer(_Utf8(file), lineterminator="\n")
    for pairs in pieces:
        for key, value in pairs:
            row = [*_columns(key), *_columns(value)]
            for column in row:
                if not isinstance(column, _SCALARS):
                    kind = type(column).__name__
                    raise _unfit("a row of CSV", key, value, f"a column cannot be a {kind}")
            rows.writerow(row)


def _columns(given: Any) -> Iterator[Any]:
    if isinstance(given, tuple | list):
        yield from given
    else:
        yield given


def _write_pickle(pieces: Iterable[Pairs], file: BinaryIO) -> None:
    for pairs in pieces:
        try:
            data = dumps(pairs)
        except MemoryError:
            raise
        except Exception as error:  # a user's __reduce__ may raise anything
            key, value = next((pair for pair in pairs if not _pickles(pair)), pairs[0])
            raise _unfit("a pickle", key, value, f"{type(error).__name__}: {error}") from error
        file.write(data)


def _pickles(pair: Any) -> bool:
    try:
        dumps(pair)
    except Exception:  # noqa: BLE001  as above
        return False
    return True


def _unfit(what: str, key: Any, value: Any, why: str) -> OutputError:
    shown = shortened(f"{key!r}: {value!r}")
    return OutputError(
        f"a result cannot be written as {what}: {why}. It is {shown}. Let reduce return what can "
        'be, or save it in another format; "pickle" takes nearly anything'
    )


_WRITERS: dict[str, Callable[[Iterable[Pairs], BinaryIO], None]] = {
    "jsonl": _write_jsonl,
    "text": _write_text,
    "csv": _write_csv,
    "pickle": _write_pickle,
}
