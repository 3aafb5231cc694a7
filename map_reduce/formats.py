"""What results look like as text: a line for each, or some.

The same whoever writes it: a reduce task, where a job was started with ``save_as``
(``execution/formatted.py``), or the client, from results that it fetches (``client/saving.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from map_reduce.errors import ConfigError, OutputError, shortened

Line = Callable[[Any, Any], str]
"""From a key and its result to their text, line end included. Raises OutputError."""

TEXTS = ("jsonl", "text", "csv", "lines")
"""Those that are text, which a reduce task may write."""

FORMATS = (*TEXTS, "pickle")

_SCALARS = (str, int, float, bool, type(None))


def check_format(format: str, among: tuple[str, ...] = FORMATS) -> None:
    """Raises ConfigError where it is none of them."""
    if format not in among:
        raise ConfigError(f"results can be saved as {', '.join(among)}, not as {format!r}")


def line_of(format: str) -> Line:
    """The function that makes the text, for one of :data:`TEXTS`."""
    return _LINES[format]()


def encoded(lines: list[str]) -> bytes:
    """The bytes of a file with these lines."""
    return "".join(lines).encode("utf-8", "surrogateescape")


def unfit(what: str, key: Any, value: Any, why: str) -> OutputError:
    """The error for a result that a format has no form for."""
    shown = shortened(f"{key!r}: {value!r}")
    return OutputError(
        f"a result cannot be written as {what}: {why}. It is {shown}. Let reduce return what can "
        'be, or save it in another format; "pickle" takes nearly anything'
    )


def _jsonl() -> Line:
    import json  # late: few jobs write any

    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def line(key: Any, value: Any) -> str:
        try:
            return encode([key, value]) + "\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise unfit("JSON", key, value, str(error)) from error

    return line


def _text() -> Line:
    def line(key: Any, value: Any) -> str:
        named = str(key)
        text = f"{named}\t{value!s}"
        if "\n" in text or "\r" in text:
            raise unfit("a line of text", key, value, "it has a line end")
        if "\t" in named:
            raise unfit("a line of text", key, value, "the key has the tab that ends keys")
        return text + "\n"

    return line


class _Given:
    """What the csv module writes to: it gives back what it is given."""

    @staticmethod
    def write(text: str) -> str:
        return text


def _csv() -> Line:
    import csv  # late: few jobs write any

    write = csv.writer(_Given(), lineterminator="\n").writerow

    def line(key: Any, value: Any) -> str:
        row = [*_columns(key), *_columns(value)]
        for column in row:
            if not isinstance(column, _SCALARS):
                kind = type(column).__name__
                raise unfit("a row of CSV", key, value, f"a column cannot be a {kind}")
        written: Any = write(row)
        return str(written)

    return line


def _columns(given: Any) -> Iterator[Any]:
    if isinstance(given, tuple | list):
        yield from given
    else:
        yield given


def has_lines(text: str, count: int) -> bool:
    """Whether it is read as so many lines: none of them has a line end within."""
    return text.count("\n") == count and "\r" not in text


def _lines() -> Line:
    def line(key: Any, value: Any) -> str:
        lines = (value,) if isinstance(value, str) else value
        try:
            if not isinstance(lines, list | tuple):
                raise TypeError(f"it is of type {type(value).__name__}")
            text = "\n".join([*lines, ""])
        except TypeError as error:
            what = f"neither a str nor a list of them: {error}"
            raise unfit("lines", key, value, what) from error
        if not has_lines(text, len(lines)):
            raise unfit("lines", key, value, "it has a line end")
        return text

    return line


_LINES: dict[str, Callable[[], Line]] = {
    "jsonl": _jsonl,
    "text": _text,
    "csv": _csv,
    "lines": _lines,
}
