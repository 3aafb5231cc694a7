"""Results as text, written by the tasks that reduce.

In a job with ``save_as`` the text of a key's result takes the place of the result at once, as if
reduce had returned it: so what a format has no form for is a failure of reduce at that key, and is
named, retried or left out like any other. What the task then hands over is the bytes of a file,
which nobody unpickles and encodes again; and since it commits like any results, there is one file
for each task, whatever its attempts were.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from map_reduce.core.messages import OutputPart
from map_reduce.execution.pickles import PIECE_BYTES
from map_reduce.execution.results import ResultWriter
from map_reduce.formats import encoded, line_of

Form = Literal["jsonl", "text", "csv", "lines"]


class Formatted:
    """A reduce function that gives the text of its result in a file."""

    def __init__(self, reduce: Callable[[Any, Any], Any], form: Form) -> None:
        self.reduce = reduce
        self.form = form
        self._line = line_of(form)

    def __call__(self, key: Any, values: Any) -> str:
        text = self._line(key, self.reduce(key, values))
        if not text.isascii():
            encoded([text])  # raises where it has no bytes
        return text


def format_of(reduce: Any) -> Form | None:
    """In which format it gives results; None: as they are."""
    return reduce.form if isinstance(reduce, Formatted) else None


def unformatted(function: Any) -> Any:
    """The user's own reduce function."""
    return function.reduce if isinstance(function, Formatted) else function


class TextWriter(ResultWriter):
    """A ResultWriter whose values are the text of a file, of each key in turn."""

    nothing = b""

    def __init__(self, path: Path, form: Form) -> None:
        super().__init__(path)
        self._form = form
        self._texts: list[bytes] = []
        self._keys_of_texts = 0

    def add(self, keys: int, text: bytes) -> None:
        """Take the text of some keys, which is written out after those of ``values``."""
        self._texts.append(text)
        self._keys_of_texts += keys

    @property
    def is_empty(self) -> bool:
        return not self._texts and super().is_empty

    def settle(self) -> None:
        """As of a ResultWriter."""
        if sum(map(len, self._texts)) >= PIECE_BYTES:
            self.flush()
        super().settle()

    def flush(self) -> None:
        """As of a ResultWriter."""
        super().flush()
        if self._texts:
            self._put(b"".join(self._texts))
            self.records += self._keys_of_texts
            self._texts.clear()
            self._keys_of_texts = 0

    def _encoded(self, keys: list[Any], values: list[Any]) -> bytes:
        return encoded(values)

    def finish(self) -> OutputPart:
        """As of a ResultWriter."""
        part = super().finish()
        return OutputPart(part.records, part.inline, part.ref, self._form)
