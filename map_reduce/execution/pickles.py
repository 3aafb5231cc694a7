"""User objects to bytes and back, with errors that say what to do.

Lists of scalars, and of tuples and lists of scalars, are most of what jobs move. They are
pickled without the memo by which pickle recognises an object that it has already written: such
values hold nothing that needs it, and it is two thirds of the time (120 to 42 ns for each word
of a list, 250 to 70 for each pair). Where texts repeat, as when a map gives its whole line with
every word, the memo is what keeps the output small.

That, and anything else, goes through :mod:`map_reduce.pickling`, which pickles classes by value
that other processes could not import; plain pickle would write ``__main__.Point``, and every
process has another ``__main__``.
"""

from __future__ import annotations

import io
import pickle
from itertools import chain, repeat
from typing import Any, BinaryIO

from map_reduce.errors import FunctionError, MapReduceError
from map_reduce.pickling import PROTOCOL, dumps

SCALARS = frozenset((str, bytes, int, float, bool, type(None)))
_TEXTS = frozenset((str, bytes))
PIECE_BYTES = 4 << 20
"""Pickles are made of so many values that they are about this long at most, so that whoever reads
them needs no more memory than that, several times over."""
_SAMPLES = 16
_LOOKED_AT_MIN, _LOOKED_AT_SHARE = 1 << 10, 8
_CONTAINERS = frozenset((tuple, list))
_FLAT = SCALARS | _CONTAINERS


def dump_lists(*lists: list[Any], apart: int = 0) -> bytes:
    """The pickled tuple of these lists; in each of the first ``apart``, no object stands twice.

    Raises:
        Exception: whatever user classes raise on being pickled.
    """
    if not all(map(_is_flat, lists, chain(repeat(True, apart), repeat(False)))):
        return dumps(lists)
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, PROTOCOL)
        pickler.fast = True
        pickler.dump(lists)
        return file.getvalue()


def at_a_time(values: list[Any], first: int, most: int) -> int:
    """How many of ``values``, from ``first`` on, make a pickle of about ``PIECE_BYTES``.

    Told from a few of them; between 1 and ``most``.
    """
    count = min(len(values) - first, most)
    if count <= 1:
        return count
    samples = min(_SAMPLES, 1 + count // 64)
    sample = values[first : first + count : -(-count // samples)]
    try:
        each = len(dump_lists(sample)) / len(sample)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  whoever pickles them all finds out which it is, and says so
        return count
    return max(1, min(count, int(PIECE_BYTES / each)))


def load(
    data: bytes | memoryview | BinaryIO, what: str, kind: type[MapReduceError] = FunctionError
) -> Any:
    """Unpickle ``data``, which is ``what``, for messages; of a file the next pickle in it.

    Raises:
        kind: it does not unpickle in this process.
    """
    try:
        return pickle.loads(data) if isinstance(data, bytes | memoryview) else pickle.load(data)
    except ModuleNotFoundError as error:
        raise kind(
            f"{what} cannot be unpickled: they need the module {error.name!r}, which is not "
            f"installed on this node; install it on every node, or, where it is a module of your "
            "own, import it at the top of the script, so that it is sent along"
        ) from error
    except (ImportError, AttributeError) as error:
        raise kind(
            f"{what} cannot be unpickled: {error}; is there another version of that module on "
            "this node than where the job was submitted?"
        ) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # modules are imported here, and may do anything
        raise kind(f"{what} cannot be unpickled: {type(error).__name__}: {error}") from error


def pickles(value: Any) -> str:
    """Why ``value`` cannot be pickled, or "" where it can."""
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001  user classes may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def _is_flat(values: list[Any], apart: bool) -> bool:
    """Whether nothing among ``values`` needs pickle's memo."""
    kinds = set(map(type, values))
    if not kinds <= SCALARS:
        if not kinds <= _FLAT:
            return False
        inside = list(chain.from_iterable(v for v in values if type(v) in _CONTAINERS))
        kinds_inside = set(map(type, inside))
        if not kinds_inside <= SCALARS or _repeats(inside, kinds_inside):
            return False
    return apart or not _repeats(values, kinds)


def _repeats(values: list[Any], kinds: set[type]) -> bool:
    """Whether texts are the same object again and again, and would be written as often.

    Of many values, a part is looked at: in a share of them, wherever it is taken, the same share
    of what stands twice meets its like, at least.
    """
    if kinds.isdisjoint(_TEXTS):
        return False
    looked_at = max(min(len(values), _LOOKED_AT_MIN), len(values) // _LOOKED_AT_SHARE)
    if not looked_at:
        return False
    twice = looked_at - len(set(map(id, values[:looked_at])))
    return twice / looked_at > 0.1 * looked_at / len(values)
