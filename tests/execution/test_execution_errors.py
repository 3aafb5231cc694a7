"""What a person reads when user code goes wrong, and what a program catches."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from execution_runs import (
    attempt,
    failure_of_map,
    failure_of_reduce,
    folder,
    items_split,
)
from test_execution_read import file_split

from map_reduce.core.messages import Checked, CheckWork, Failed, MapWork, TextFormat, WholeWork
from map_reduce.errors import FunctionError
from map_reduce.execution.attempt import LoadedFunctions, load_functions
from map_reduce.execution.failures import RECORD_CHARACTERS_MAX, said, shown
from map_reduce.pickling import dumps


def test_an_exception_in_map_in_full(tmp_path: Path) -> None:
    def inner(text: str) -> int:
        return 1 // len(text)

    def map(number: int, line: str) -> Any:
        return [(line, inner(line.strip()))]

    path = tmp_path / "a.txt"
    path.write_text("a\nb\n  \nd\n")
    functions = LoadedFunctions(map, lambda key, values: values, None)
    outcome, output = attempt(MapWork(file_split(path), 2), functions, tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert (output, outcome.retry, outcome.lost_source) == (None, True, None)
    first = inner.__code__.co_firstlineno
    assert outcome.failure.kind == "MapError"
    assert outcome.failure.message.splitlines() == [
        "ZeroDivisionError: integer division or modulo by zero"
        if sys.version_info < (3, 14)
        else "ZeroDivisionError: division by zero",
        f"  in map, at line 2 of {path} (counted from 0): '  '",
        "  on node 127.0.0.1:9000, map task 3, attempt 1",
        f'  File "{__file__}", line {first + 4}, in map',
        "    return [(line, inner(line.strip()))]",
        f'  File "{__file__}", line {first + 1}, in inner',
        "    return 1 // len(text)",
    ]
    original = pickle.loads(outcome.failure.exception)
    assert type(original) is ZeroDivisionError
    assert list(tmp_path.iterdir()) == [path]


def test_a_generator_that_raises_midway_is_located() -> None:
    def map(index: int, item: str) -> Any:
        yield item, 1
        if item == "b":
            raise KeyError("no b")
        yield item, 2

    failed = failure_of_map(map)
    assert failed.failure.kind == "MapError"
    assert "KeyError: 'no b'\n  in map, at item 1 (counted from 0): 'b'" in failed.failure.message


def test_keys_of_mappings_are_named() -> None:
    functions = LoadedFunctions(lambda key, value: 1 // value, lambda key, values: values, None)
    with folder() as here:
        work = WholeWork(items_split([("x", 1 // 2)], keyed=True))
        outcome, _ = attempt(work, functions, here / "out")
    assert isinstance(outcome, Failed)
    assert "\n  in map, at key 'x': 0\n" in outcome.failure.message


@pytest.mark.parametrize(
    ("map", "message"),
    [
        (lambda index, item: None, "map returned None for item 0; did you forget return?"),
        (
            lambda index, item: 7,
            "map returned something of type int for item 0, where a list of (key, value)",
        ),
        (
            lambda index, item: item,
            "map gave 'a', of type str, where a (key, value) pair is expected",
        ),
        (lambda index, item: ["ab"], "map gave 'ab', of type str, where"),
        (lambda index, item: [b"ab"], "map gave b'ab', of type bytes, where"),
        (lambda index, item: ("ab", 1), "map gave 'ab', of type str, where"),
        (lambda index, item: {"US": 1}, "map gave 'US', of type str, where"),
        (lambda index, item: [{item}], "map gave {'a'}, of type set, where"),
        (lambda index, item: [(1, 2, 3)], "map gave (1, 2, 3), of type tuple and length 3, where"),
        (lambda index, item: [[1]], "map gave [1], of type list and length 1, where"),
        (lambda index, item: [()], "map gave (), of type tuple and length 0, where"),
        (lambda index, item: [("k", 1), None], "map gave None, of type NoneType, where"),
    ],
    ids=range(12),
)
def test_what_is_no_pairs(map: Callable[[int, str], Any], message: str) -> None:
    failed = failure_of_map(map)
    assert failed.failure.kind == "BadPairError"
    assert failed.failure.message.startswith(message)
    assert "\n  in map, at item 0 (counted from 0): 'a'\n" in failed.failure.message
    assert "on node 127.0.0.1:9000, map task 3, attempt 1" in failed.failure.message


def test_a_bad_pair_late_in_the_input_is_located() -> None:
    failed = failure_of_map(lambda index, item: [(item, 1)] if index < 70 else None, ["x"] * 99)
    assert failed.failure.message.startswith("map returned None for item 70;")

    def map(index: int, item: str) -> Any:
        yield item, 1
        yield (item, 1) if index < 70 else "xy"

    failed = failure_of_map(map, ["x"] * 99)
    assert "at item 70 (" in failed.failure.message
    assert failed.failure.kind == "BadPairError"


def test_type_errors_of_user_code_are_user_errors() -> None:
    def map(index: int, item: str) -> Any:
        return list(None)  # type: ignore[call-overload]

    failed = failure_of_map(map)
    assert failed.failure.kind == "MapError"
    assert failed.failure.message.startswith("TypeError: 'NoneType' object is not iterable")
    assert "return list(None)" in failed.failure.message
    assert failure_of_map(list).failure.kind == "MapError"


class Identity:
    pass


@dataclass(frozen=True)
class Holder:
    inside: Any


class Broken:
    def __hash__(self) -> int:
        raise RuntimeError("no hash today")

    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ([1], ["the key [1], of type list, cannot be grouped by", "unhashable", "use a tuple"]),
        ({"a": 1}, ["of type dict, cannot", "tuple(sorted("]),
        (("a", {1}), ["unhashable type: 'set'"]),
        (Holder([]), ["Holder(inside=[])", "unhashable type: 'list'"]),
        (Identity(), ["Identity has the default hash", "define __eq__ and __hash__ in Identity"]),
        (("a", Identity()), ["Identity has the default hash"]),
        (Holder(Identity()), ["Identity has the default hash"]),
        (frozenset({Identity()}), ["Identity has the default hash"]),
        (Broken(), ["of type Broken, cannot be grouped by: no hash today"]),
    ],
    ids=range(9),
)
def test_keys_that_cannot_be_grouped_by(key: Any, words: list[str]) -> None:
    failed = failure_of_map(lambda index, item: [("good", 1), (key, 1)])
    assert failed.failure.kind == "BadKeyError"
    for word in words:
        assert word in failed.failure.message
    assert "\n  in map, at item 0 (counted from 0): 'a'\n" in failed.failure.message


def test_ends_of_programs_are_user_errors() -> None:
    failed = failure_of_map(lambda index, item: sys.exit("enough"))
    assert failed.failure.kind == "MapError"
    assert failed.failure.message.startswith("SystemExit: enough\n")
    assert failed.failure.exception == b""  # raised in the client it would end the client

    def interrupted(index: int, item: str) -> Any:
        raise KeyboardInterrupt

    failed = failure_of_map(interrupted)
    assert failed.failure.message.startswith("KeyboardInterrupt\n  in map, at item 0")
    assert failure_of_reduce(lambda k, v: sys.exit(3), [[(1, 1)]]).failure.kind == "ReduceError"


def test_stop_iteration_does_not_pass_for_the_end_of_the_input() -> None:
    for bad in ("a", "b", "c"):  # the first record, one amidst, the last one

        def map(index: int, item: str, bad: str = bad) -> Any:
            return [(item, 1)] if item != bad else next(iter([]))

        failed = failure_of_map(map)
        assert failed.failure.kind == "MapError"
        assert failed.failure.message.startswith("StopIteration: raised in map")
        assert f": '{bad}'\n" in failed.failure.message
    for bad in ("k", "l"):

        def reduce(key: str, values: Any, bad: str = bad) -> Any:
            return values if key != bad else next(iter([]))

        failed = failure_of_reduce(reduce, [[("k", 1), ("l", 2)]])
        assert failed.failure.kind == "ReduceError"
        assert f"in reduce, at key '{bad}'" in failed.failure.message


def test_recursion_and_memory() -> None:
    def deep(index: int, item: str) -> Any:
        return deep(index, item)

    failed = failure_of_map(deep)
    assert failed.failure.message.startswith("RecursionError: ")
    assert "more frames" in failed.failure.message
    assert len(failed.failure.message.splitlines()) < 40

    def large(index: int, item: str) -> Any:
        return bytearray(1 << 62)

    assert failure_of_map(large).failure.message.startswith("MemoryError")


def test_an_exception_in_reduce() -> None:
    def reduce(word: str, counts: list[int]) -> int:
        return 1 // (counts[0] - 2)

    failed = failure_of_reduce(reduce, [[("x", 1), ("y", 2)], [("z", 3)]])
    assert failed.failure.kind == "ReduceError"
    lines = failed.failure.message.splitlines()
    assert lines[0].startswith("ZeroDivisionError: ")
    assert lines[1] == "  in reduce, at key 'y'"
    assert lines[2] == "  on node 127.0.0.1:9000, whole task 3, attempt 1"
    assert lines[4:] == ["    return 1 // (counts[0] - 2)"]
    assert type(pickle.loads(failed.failure.exception)) is ZeroDivisionError


def test_an_exception_in_combine() -> None:
    def combine(key: str, values: list[Any]) -> Any:
        raise ValueError("cannot combine")

    failed = failure_of_map(lambda index, item: [("k", 1)], combine=combine)
    assert failed.failure.kind == "CombineError"
    assert failed.failure.message.startswith(
        "ValueError: cannot combine\n  in combine, for key 'k'"
    )
    assert 'raise ValueError("cannot combine")' in failed.failure.message


def test_a_result_that_does_not_pickle() -> None:
    def reduce(key: str, values: list[Any]) -> Any:
        return values if key == "x" else (value for value in values)

    failed = failure_of_reduce(reduce, [[("x", 1), ("y", 2)]])
    assert failed.failure.kind == "ReduceError"
    assert failed.failure.message.startswith("reduce returned a generator, which cannot be sent")
    assert "from reduce, for key 'y': <generator" in failed.failure.message


def test_keys_and_values_that_do_not_pickle() -> None:
    failed = failure_of_map(lambda index, item: [("x", 1), ("k", sys._getframe())])
    assert failed.failure.kind == "BadPairError"
    assert failed.failure.message.startswith("a value of type frame cannot be sent")
    assert "of key 'k'" in failed.failure.message

    class Stuck(str):
        def __reduce__(self) -> Any:
            raise ValueError("stuck")

    failed = failure_of_map(lambda index, item: [(Stuck("x"), 1)])
    assert failed.failure.kind == "BadKeyError"
    assert failed.failure.message.startswith("a key of type Stuck cannot be sent")
    assert "ValueError: stuck" in failed.failure.message


class Demanding(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mute")


def test_exceptions_that_do_not_travel_leave_their_text() -> None:
    def map(index: int, item: str) -> Any:
        raise Demanding(1, 2)

    failed = failure_of_map(map)
    assert failed.failure.exception == b""
    assert failed.failure.message.startswith(f"{__name__}.Demanding: 1 and 2\n")

    def mute(index: int, item: str) -> Any:
        raise Mute

    assert "__str__ raised RuntimeError" in failure_of_map(mute).failure.message

    def large(index: int, item: str) -> Any:
        raise ValueError("x" * (1 << 21))

    failed = failure_of_map(large)
    assert failed.failure.exception == b""
    assert len(failed.failure.message) < 10_000


def test_causes_are_told() -> None:
    def map(index: int, item: str) -> Any:
        try:
            int(item)
        except ValueError as error:
            raise LookupError("no number") from error

    message = failure_of_map(map).failure.message
    assert message.startswith("LookupError: no number\n")
    assert "\n  caused by ValueError: invalid literal for int()" in message


def test_text_that_is_not_unicode_can_be_sent() -> None:
    def map(index: int, item: str) -> Any:
        raise ValueError("\udcff")

    failure_of_map(map).failure.message.encode()


def test_records_are_shown_cut() -> None:
    assert shown("x" * 10_000) == repr("x" * RECORD_CHARACTERS_MAX) + "…"
    assert shown("short") == "'short'"
    assert len(shown(list(range(10**6)))) <= RECORD_CHARACTERS_MAX
    assert len(shown({"k": ["x" * 1000] * 1000})) <= RECORD_CHARACTERS_MAX
    assert "Broken" in shown(Broken())
    assert said(ValueError()) == "ValueError"


# ---------------------------------------------------------------------- functions


def test_functions_are_loaded() -> None:
    functions = load_functions(dumps((lambda k, v: [(k, v)], lambda k, vs: vs, None)))
    assert functions.map(1, 2) == [(1, 2)]
    assert functions.reduce(1, [2]) == [2]
    assert functions.combine is None
    with folder() as here:
        assert attempt(CheckWork(), functions, here / "out") == (Checked(), None)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"cno_such_module.sub\nf\n.", "need the module 'no_such_module', which is not installed"),
        (b"cjson\nno_such_function\n.", "no_such_function.*another version"),
        (b"csys\nexit\n(I3\ntR.", "SystemExit: 3"),
        (b"cbuiltins\nint\n(Vx\ntR.", "ValueError: invalid literal"),
        (b"", "EOFError"),
        (pickle.dumps(3), "are not \\(map, reduce"),
    ],
    ids=range(6),
)
def test_functions_that_do_not_load(pickled: bytes, message: str) -> None:
    with pytest.raises(FunctionError, match=message):
        load_functions(pickled)


def test_input_that_another_node_may_read_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(b"\x1f\x8b no gzip")
    functions = LoadedFunctions(lambda number, line: [], lambda key, values: values, None)
    split = file_split(path)
    packed = msgspec.structs.replace(split, format=TextFormat(compression="gzip"))
    damaged, _ = attempt(WholeWork(packed), functions, tmp_path / "o")
    path.unlink()
    missing, _ = attempt(WholeWork(split), functions, tmp_path / "o")
    assert isinstance(damaged, Failed)
    assert isinstance(missing, Failed)
    assert (damaged.failure.kind, damaged.retry) == ("InputUnreadableError", False)
    assert (missing.failure.kind, missing.retry) == ("InputMissingError", True)


@pytest.mark.parametrize(
    ("error", "retry", "cause"),
    [
        (ValueError("x"), True, "ValueError"),
        (FileNotFoundError(2, "x"), True, "FileNotFoundError"),
        (ConnectionResetError(), True, ""),
        (TimeoutError(), True, ""),
        (OSError(28, "no space"), True, ""),
        (MemoryError(), True, ""),
        (NameError("x"), False, "NameError"),
        (SystemExit(3), False, "SystemExit"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_exceptions_are_worth_another_attempt(
    error: BaseException, retry: bool, cause: str
) -> None:
    def raising(index: int, item: str) -> Any:
        raise error

    def wrapping(index: int, item: str) -> Any:
        try:
            raise error
        except BaseException as inner:
            raise LookupError("outer") from inner

    failed = failure_of_map(raising, ["a"])
    assert failed.retry == retry
    assert failed.suspect is not None
    assert (failed.suspect.phase, failed.suspect.position) == ("map", 0)
    assert failed.suspect.cause == cause
    wrapped = failure_of_map(wrapping, ["a"])
    assert wrapped.retry
    assert wrapped.suspect is not None
    assert wrapped.suspect.cause == ("LookupError" if cause else "")
