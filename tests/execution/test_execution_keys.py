"""Equal keys meet, whichever process hashed them. Here the processes are real."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from execution_runs import attempt_in_child, in_child, items_split, reduce_work, results_of

from map_reduce.core.messages import Failed, MapOutput, MapWork
from map_reduce.errors import BadKeyError
from map_reduce.execution.keys import PRIMES, form_of, hashes_of, partitions_of
from map_reduce.pickling import dumps

PARTITIONS = 1 << 20  # so many that no two hashes share one by chance

_PARTITIONS_OF = f"""
import os
junk = [object() for _ in range(os.getpid() % 1000 * 10)]  # no address as in another process
from map_reduce.execution.keys import hashes_of, partitions_of
import enum, dataclasses, datetime, decimal, math, types, typing
class Colour(enum.Enum):
    RED = None
    BLUE = (None, 1)
class Pair(typing.NamedTuple):
    a: object
    b: object
@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object = None
@dataclasses.dataclass(frozen=True)
class Labelled(Point):
    label: str = dataclasses.field(default="", compare=False)
nan = float("nan")
keys = [
    None, (None,), ("a", (None, 1)), frozenset({{None, "a"}}), Point(1), Point(None, (None,)),
    Labelled(None, 2, "x"), Pair(None, 1), Colour.RED, Colour.BLUE, (Colour.RED, None),
    nan, (nan,), ("a", (nan, None)), Point(nan), decimal.Decimal("nan"), complex(nan, 1),
    ..., NotImplemented, (..., 1), range(0), range(1), range(2, 9, 3), (range(0), None),
    int, Point, (Point, None), "word", b"bytes", 1, 1 << 70, -1, 0.5, 1.5, True, "", (), ("a", 1),
    frozenset(), datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3), math.inf,
    decimal.Decimal("1.1"), frozenset({{frozenset({{None}}), 1}}), ((((None,),),),),
    Point(Point(None)),
]
print(partitions_of(hashes_of(keys, False), {PARTITIONS}))
"""


def test_partitions_are_the_same_in_every_process() -> None:
    seen = {in_child(_PARTITIONS_OF) for _ in range(3)}
    assert len(seen) == 1
    assert in_child(_PARTITIONS_OF, hash_seed=1) not in seen  # the seed is what settles str


class Level(enum.IntEnum):
    ONE = 1


class Word(str):
    pass


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclass(frozen=True)
class Noted:
    x: Any
    note: list[int] = field(default_factory=list, compare=False)


@dataclass
class Loose:
    x: Any


class Plain:
    pass


class ByName:
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByName) and self.name == other.name

    def __hash__(self) -> int:
        return hash((ByName, self.name))


@dataclass(frozen=True)
class Caseless:
    """Its hash and equality are of its own making."""

    name: str
    tag: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caseless) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


NAN = float("nan")


@pytest.mark.parametrize(
    "spellings",
    [
        [1, 1.0, True, Decimal(1), Fraction(1), 1 + 0j, Level.ONE],
        ["a", Word("a")],
        [0.5, Decimal("0.5"), Fraction(1, 2)],
        [(1, None), (1.0, None), (Level.ONE, None)],
        [NAN, -NAN, Decimal("nan"), float("nan")],
        [(NAN, 1), (float("nan"), True)],
        [Point(NAN), Point(float("nan"))],
        [Point(1), Point(True)],
        [Noted(1, [1]), Noted(1.0, [2])],
        [Caseless("A"), Caseless("a")],
        [frozenset({NAN, 1}), frozenset({float("nan"), 1.0})],
        [range(0), range(5, 5), range(9, 9, 2)],
        [range(3, 4), range(3, 9, 7)],
    ],
)
def test_equal_keys_have_equal_forms_and_partitions(spellings: list[Any]) -> None:
    forms = [form_of(key) for key in spellings]
    assert all(form == forms[0] for form in forms)
    assert len(set(forms)) == 1
    assert len(set(partitions_of(hashes_of(spellings, False), PARTITIONS))) == 1


@pytest.mark.parametrize(
    "different",
    [
        [None, "None", (None,), NAN, ..., 0],
        [int, "int", Point, Plain],
        [(NAN, 1), (NAN, 2), (1, NAN), NAN],
        [Point(None), Point(NAN), Point(0), (None, None), (Point, (None, None))],
        [complex(NAN, 0), NAN],
        [range(0), range(1), range(2), ()],
    ],
    ids=str,
)
def test_different_keys_have_different_forms(different: list[Any]) -> None:
    assert len({form_of(key) for key in different}) == len(different)


def test_a_form_has_the_hash_its_key_would_have() -> None:
    # So that where a None stands deep in a tuple, equal tuples without any are not disturbed.
    for key in ["a", 1, 0.5, ("a", 1), Point(1, 2), (), frozenset({1}), Level.ONE, Caseless("A")]:
        assert form_of(key) is key
    assert hash(form_of((None, 1))) == hash((form_of(None), 1))


@pytest.mark.parametrize(
    "key",
    [Plain(), (1, Plain()), frozenset({Plain()}), Point((Plain(),)), lambda: 0, object()],
    ids=["object", "in tuple", "in frozenset", "in dataclass", "function", "bare object"],
)
def test_identity_hashes_are_refused(key: Any) -> None:
    with pytest.raises(BadKeyError, match="identity"):
        form_of(key)


def test_partitions_are_even() -> None:
    choices = random.Random(1)
    families = {
        "multiples": [64 * n for n in range(64_000)],
        "high bits": [n << 40 for n in range(64_000)],
        "binary fractions": [n / 65536 for n in range(64_000)],
        "decimals": [n / 10 for n in range(64_000)],
        "words": [f"word{n}" for n in range(64_000)],
        "pairs": [(n % 100, n // 100) for n in range(64_000)],
        "random": [choices.getrandbits(64) for _ in range(64_000)],
    }
    for partitions in (64, 60, 7):
        for name, keys in families.items():
            counts = [0] * partitions
            for partition in partitions_of(hashes_of(keys, False), partitions):
                counts[partition] += 1
            mean = len(keys) / partitions
            assert max(counts) < mean + 6 * mean**0.5, (name, partitions)
            assert min(counts) > mean - 6 * mean**0.5, (name, partitions)


def test_the_prime_is_the_largest_below_2_to_the_30() -> None:
    def is_prime(n: int) -> bool:
        return all(n % d for d in range(2, int(n**0.5) + 1))

    assert all(map(is_prime, PRIMES))
    assert list(PRIMES) == sorted(set(PRIMES), reverse=True)
    assert not any(is_prime(n) for n in range(PRIMES[0] + 1, 1 << 30))


# ---------------------------------------------------------------------- whole jobs


def _through_processes(
    map: Any, items: list[Any], tmp_path: Path, hash_seeds: tuple[int, ...] = (0, 0, 0)
) -> list[Any]:
    """Each half of the items mapped in a process of its own, each partition reduced in one."""
    pickled = dumps((map, lambda key, values: values, None))
    mapped = []
    half = len(items) // 2
    for number, part in enumerate((items[:half], items[half:])):
        work = MapWork(items_split(part, number * half), 2)
        outcome, path = attempt_in_child(
            pickled, work, tmp_path / f"m{number}", hash_seed=hash_seeds[number]
        )
        assert isinstance(outcome, MapOutput), outcome
        assert path is not None
        mapped.append((path, outcome.sizes))
    ended = []
    for partition in range(2):
        work, local = reduce_work(mapped, partition, partition + 1)  # type: ignore[assignment]
        ended.append(
            attempt_in_child(
                pickled, work, tmp_path / f"r{partition}", local, hash_seed=hash_seeds[2]
            )
        )
    return ended


def test_keys_of_the_users_own_classes_meet_across_processes(tmp_path: Path) -> None:
    # Made here, so they are pickled by value, as the classes of a script are.
    class Kind(enum.Enum):
        A = None
        B = 2

    @dataclass(frozen=True)
    class Key:
        kind: Any
        name: Any

    def map(index: int, item: int) -> list[tuple[Any, Any]]:
        spelt = float(item % 2) if item > 7 else item % 2
        nan = float("nan")
        return [
            (Key(Kind.A, None), item),
            (Key(Kind.B, spelt), item),
            (Kind.B, item),
            (None, item),
            (nan, item),
            ((None, nan), item),
            (spelt, item),
        ]

    results = [
        pair
        for outcome, path in _through_processes(map, list(range(16)), tmp_path)
        for pair in results_of(outcome, path)
    ]
    evens, odds, all_of_them = list(range(0, 16, 2)), list(range(1, 16, 2)), list(range(16))
    assert len(results) == 9
    expected = [all_of_them] * 5 + [evens, odds] * 2
    assert sorted(values for _, values in results) == sorted(expected)


def test_a_hash_that_differs_between_processes_is_found(tmp_path: Path) -> None:
    class Shifty:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Shifty) and self.name == other.name

        def __hash__(self) -> int:
            import os

            return hash((os.getpid(), self.name))

    failures = [
        outcome
        for outcome, _ in _through_processes(
            lambda index, item: [(Shifty(item), 1), ("a", 1)], list("abcdefgh"), tmp_path
        )
        if isinstance(outcome, Failed)
    ]
    assert failures
    for failed in failures:
        assert failed.failure.kind == "BadKeyError"
        assert "Shifty" in failed.failure.message
        assert "differs between processes" in failed.failure.message
        assert "on node n:1, reduce task 3, attempt 1" in failed.failure.message
        assert not failed.retry


def test_workers_with_different_seeds_are_found(tmp_path: Path) -> None:
    ended = _through_processes(
        lambda index, item: [(item, 1)], list("abcdefgh"), tmp_path, hash_seeds=(1, 1, 2)
    )
    assert {outcome.failure.kind for outcome, _ in ended} == {"ConfigError"}
    assert "PYTHONHASHSEED" in ended[0][0].failure.message
