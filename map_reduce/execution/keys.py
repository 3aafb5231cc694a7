"""Which keys are one key, and which partition a key belongs to.

Equal keys must meet in one reduce call, whichever worker process made them. A worker groups
with a dict, so inside a process Python's own contract does it: equal keys have equal hashes
(``1``, ``1.0``, ``True``, ``Decimal(1)``, an ``IntEnum``, a numpy integer). Between processes
the hash must also be the *same number*. All workers of a cluster run with one
``PYTHONHASHSEED`` (``ClusterConfig.hash_seed``), which settles str, bytes and everything built
of them. What is left are the traps below.

    key                               trap                             here
    ────────────────────────────────  ───────────────────────────────  ──────────────────────────
    None, ..., NotImplemented, types  the hash is an address           a stand-in of fixed hash
    NaN                               unequal to itself                all NaNs share a stand-in
    range                             its hash may contain None's      a stand-in
    tuple, frozenset, dataclass       contain any of the above         rebuilt of stand-ins
    type with object's own __hash__   equal copies hash differently    BadKeyError
    other class, e.g. __hash__ by     cannot be seen from outside      the sums of hashes differ
    hash((self.name, None))                                            (``reduce_side.py``)

:func:`form_of` does this: it gives the key itself, or what stands for it. Two keys are one
exactly if their forms are equal, and the hash of a form is the same in every process. A
stand-in has the hash that the real thing *would* have, so a form inside a tuple leaves the
tuple's hash what it is.

``__hash__`` of user classes is taken at its word. The partition is ``hash((form,))`` reduced
modulo a prime: the tuple's hash mixes (ints are their own hash, and keys that are all multiples
of 64 must spread over 64 partitions), and the prime folds in the high bits, which is where
floats keep theirs. Both are C code over whole lists: ``map(hash, zip(keys))``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from numbers import Real
from operator import is_
from typing import Any

from map_reduce.errors import BadKeyError

PLAIN = frozenset((str, bytes, int, bool))
"""Exact types whose values are their own form."""

PRIMES = (
    1_073_741_789,
    1_073_741_783,
    1_073_741_741,
    1_073_741_723,
    1_073_741_719,
    1_073_741_717,
    1_073_741_689,
    1_073_741_671,
)
"""The largest below 2**30: one digit of a Python int, so the remainder is fast. The first tells
partitions apart; each of the others tells apart the keys of what is one part by those before."""

_INTS = frozenset((int, bool))
_PROBE_OF_INTS = hash(1 << 80)
_PROBE = hash(("map-reduce", "a", b"map-reduce", 1 << 80))
"""Tells apart processes with other hash seeds, and builds of Python that hash otherwise."""

_Rule = Callable[[Any], Any]


class StandIn:
    """Stands for a key, or a part of one, whose own hash or equality does not travel."""

    __slots__ = ("hash", "token")

    def __init__(self, token: Any, hash: int) -> None:
        self.token = token
        self.hash = hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StandIn) and bool(self.token == other.token)

    def __hash__(self) -> int:
        return self.hash


_NAN = StandIn("NaN", 0x4E614E)
_CONSTANTS = {
    type(None): StandIn("None", 0x4E6F6E65),
    type(...): StandIn("Ellipsis", 0x2E2E2E),
    type(NotImplemented): StandIn("NotImplemented", 0x4E6F74),
}


def form_of(key: Any) -> Any:
    """The key, or where its hash or equality would not travel, what stands for it.

    Raises:
        BadKeyError: a part of the key has the default hash, its identity.
    """
    kind = type(key)
    if kind in PLAIN:
        return key
    return _rule_of(kind)(key)  # type: ignore[arg-type]  # types are hashable


def are_plain(keys: Collection[Any]) -> bool:
    """Whether all keys, or the elements of those that are tuples, are of plain types, so that
    each is its own form. May say no where that is so nevertheless."""
    kinds = set(map(type, keys)) - PLAIN
    if not kinds:
        return True
    inside = chain.from_iterable(key for key in keys if type(key) is tuple)
    return kinds == {tuple} and PLAIN.issuperset(map(type, inside))


def hashes_of(keys: Iterable[Any], plain: bool) -> Iterator[int]:
    """A well mixed hash of each key, the same in every worker process of the cluster.

    ``plain``: each key is known to be its own form.
    """
    return map(hash, zip(keys if plain else map(form_of, keys)))


def fingerprint_of(keys: Collection[Any]) -> int:
    """A number that another process gives for equal keys only if they have equal hashes there.

    Of plain keys it is the same whatever they are: that their hashes are the same, one look at the
    process tells. Of others it is the sum of their hashes, since each type may have its own.
    """
    if are_plain(keys):
        return _PROBE_OF_INTS if _INTS.issuperset(map(type, keys)) else _PROBE
    return sum(hashes_of(keys, False))


def partitions_of(hashes: Iterable[int], partitions: int, level: int = 0) -> list[int]:
    """The partition, 0 … ``partitions`` - 1, of each of the :func:`hashes_of` keys.

    ``level``: how often they were told apart before, 0 … ``len(PRIMES)`` - 1.
    """
    prime = PRIMES[level]
    return [hashed % prime % partitions for hashed in hashes]


@lru_cache(maxsize=1024)
def _rule_of(kind: type) -> _Rule:
    """How keys of a type get their form: decided once for each type."""
    if kind in _CONSTANTS:
        stand_in = _CONSTANTS[kind]
        return lambda key: stand_in
    if issubclass(kind, type):
        return lambda key: StandIn(key, hash((key.__module__, key.__qualname__)))
    made_by: Any = kind.__hash__
    if made_by is tuple.__hash__:
        return _form_of_tuple
    if made_by is frozenset.__hash__:
        return _form_of_frozenset
    if made_by is range.__hash__:
        return _form_of_range
    if made_by is object.__hash__:
        return _refuse
    if dataclasses.is_dataclass(kind):
        return _dataclass_rule(kind)
    return _form_of_other


def _form_of_other(key: Any) -> Any:
    if key == key:
        return key
    if isinstance(key, Real | Decimal):
        return _NAN
    kind = type(key)  # a complex NaN, numpy's NaT: one key for each such type
    return StandIn(kind, hash((kind.__module__, kind.__qualname__)))


def _form_of_tuple(key: tuple[Any, ...]) -> Any:
    if PLAIN.issuperset(map(type, key)):
        return key
    forms = tuple(map(form_of, key))
    return key if all(map(is_, forms, key)) else forms


def _form_of_frozenset(key: frozenset[Any]) -> Any:
    if PLAIN.issuperset(map(type, key)):
        return key
    members = list(key)
    forms = list(map(form_of, members))
    return key if all(map(is_, forms, members)) else frozenset(forms)


def _form_of_range(key: range) -> Any:
    return StandIn(key, hash((len(key), key[:1].start if key else 0, key.step)[: 1 + len(key)]))


def _refuse(key: Any) -> Any:
    name = type(key).__qualname__
    raise BadKeyError(
        f"{name} has the default hash, which is its identity, so that equal keys made in "
        f"different processes could not meet; define __eq__ and __hash__ in {name} (or make "
        "it a @dataclass(frozen=True)), or use a str, a number or a tuple as key"
    )


def _dataclass_rule(kind: type) -> _Rule:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    compared = [field.name for field in fields if field.compare]
    hashed = [f.name for f in fields if (f.compare if f.hash is None else f.hash)]
    if compared != hashed:
        return _form_of_other

    def form_of_dataclass(key: Any) -> Any:
        values = tuple([getattr(key, name) for name in compared])
        try:
            generated = hash(values) == hash(key)
        except TypeError:
            generated = False
        if not generated:  # a hash of its own making, of which only the reduce side can judge
            return _form_of_other(key)
        forms = _form_of_tuple(values)
        return key if forms is values else StandIn((kind, forms), hash(forms))

    return form_of_dataclass
