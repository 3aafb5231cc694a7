"""Results as lines, of some keys at a time.

The format "lines" is for results that are large in number, so its steps for each key are few:
reduce is called, and its lines are joined. That is done at once, as reduce may give the same list
again, with other lines. Whether none of them has a line end within, and all have bytes, is told
from the text of some keys together. Where it is not so, it is found out for which: the key that is
named is the first for which something went wrong, as if each had been looked at before the next.

``formats.py`` does the same for one key, and says what is wrong. This is tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from map_reduce.formats import encoded, has_lines, line_of, unfit

KEYS_OF_A_TEXT = 64
"""Keys whose lines are looked at together. Their results are held until then."""


class UnfitError(Exception):
    """The result for a key, by its position among those at hand, has no form."""

    def __init__(self, at: int, error: Exception) -> None:
        super().__init__(at, error)
        self.at = at
        self.error = error


def write_lines(
    reduce: Callable[[Any, Any], Any],
    keys: list[Any],
    taken: Iterator[Any],
    lists: list[Any],
    add: Callable[[int, bytes], None],
) -> None:
    """Reduce all keys.

    Args:
        keys: all of them.
        taken: gives them in turn, one before each call of ``reduce``.
        lists: the values of each.
        add: takes the text of some keys, after their number.

    Raises:
        UnfitError: a result has no form. Reduce may have been called for some keys more.
        Exception: whatever reduce, or the format, raises for the key that was taken last.
    """
    line, join = line_of("lines"), "\n".join
    pairs = zip(taken, lists, strict=True)
    for first in range(0, len(keys), KEYS_OF_A_TEXT):
        results: list[Any] = []
        texts: list[str] = []  # of each result, without the last line end
        counts: list[int] = []  # of lines
        failed = None
        try:
            for key, values in islice(pairs, KEYS_OF_A_TEXT):
                result = reduce(key, values)
                results.append(result)
                if type(result) is list:
                    texts.append(join(result))
                    counts.append(len(result))
                elif type(result) is str:
                    texts.append(result)
                    counts.append(1)
                else:
                    text = line(key, result)
                    texts.append(text[:-1])
                    counts.append(text.count("\n"))
        except BaseException as error:  # noqa: BLE001  raised below, unless another came before
            failed = error
        data = _text_of(texts, counts)
        if data is None:
            raise _unfit(first, keys, results, texts, counts)
        add(len(texts), data)
        if failed is not None:
            if len(results) > len(texts):
                line(keys[first + len(texts)], results[-1])  # which says what is wrong
            raise failed


def _text_of(texts: list[str], counts: list[int]) -> bytes | None:
    """Of some keys; None where the result of one of them has no form."""
    if not all(counts):
        texts = [text for text, lines in zip(texts, counts, strict=True) if lines]
    text = "\n".join([*texts, ""])
    if not has_lines(text, sum(counts)):
        return None
    try:
        return encoded([text])
    except UnicodeEncodeError:
        return None


def _unfit(
    first: int, keys: list[Any], results: list[Any], texts: list[str], counts: list[int]
) -> UnfitError:
    """For which of them that is, and why. ``first``: the position of theirs among the keys."""
    for at, (text, lines) in enumerate(zip(texts, counts, strict=True)):
        key, result = keys[first + at], results[at]
        if lines and not has_lines(text + "\n", lines):
            return UnfitError(first + at, unfit("lines", key, result, "it has a line end"))
        try:
            encoded([text])
        except UnicodeEncodeError as error:
            return UnfitError(first + at, error)
    raise AssertionError("the lines of each key have a form, and those of all have none")
