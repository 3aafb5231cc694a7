"""Lines of many keys at a time are those of each, and a result that has no form is named."""

from __future__ import annotations

import pytest
from execution_runs import attempt, folder, items_split
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.messages import Failed, WholeWork
from map_reduce.execution import lines, results
from map_reduce.execution.functions import prepared
from map_reduce.execution.tracker import Tracker

TEXTS = st.one_of(
    st.sampled_from(["", "a", "bc", "é", "\udc80"]),
    st.sampled_from(["a", "with\nend", "with\rreturn", "\ud800", 7, None, b"bytes"]),
)


class Text(str):
    """A str that is none of Python's own."""


RESULTS = st.one_of(
    st.lists(st.sampled_from(["", "a", "bc", "é"]), max_size=3),
    st.lists(TEXTS, max_size=3),
    TEXTS,
    st.lists(st.sampled_from(["a", "b\nc"]), max_size=2).map(tuple),
    st.sampled_from([Text("own"), [Text("own"), "a"], {"a": 1}, {1}, 5]),
    st.sampled_from([ZeroDivisionError("that one"), StopIteration(), ConnectionError("lost")]),
)


@pytest.fixture(autouse=True, scope="module")
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "KEYS_OF_A_TEXT", 3)
        patch.setattr("map_reduce.execution.reduce_side.KEYS_AT_FIRST", 5)
        yield


def saved(reduce, keys, careful=False, sorts=True):
    """What a task gives that saves results as lines. A careful one goes key by key."""
    functions = prepared(lambda index, key: [(key, index)], reduce, None, sorts, False, "lines")
    with folder() as here:
        tracker = Tracker((lambda *noted: None) if careful else None)
        work = WholeWork(items_split(list(keys)))
        outcome, path = attempt(work, functions, here / "out", None, tracker, careful)
        if isinstance(outcome, Failed):
            assert path is None
            return outcome
        part = outcome.part
        data = part.inline if path is None else path.read_bytes()
        assert outcome.counts.records_out == part.records
        return part.records, data, part.form


@given(st.lists(RESULTS, max_size=12), st.booleans())
def test_it_equals_its_twin_for_one_key(wanted, again):
    mutable = []

    def reduce(key, values):
        result = wanted[key]
        if isinstance(result, Exception):
            raise type(result)(*result.args)
        if again and type(result) is list:
            mutable[:] = result
            return mutable
        return result

    got, expected = (saved(reduce, range(len(wanted)), careful) for careful in (False, True))
    if isinstance(expected, Failed):
        assert isinstance(got, Failed)
        assert got.retry == expected.retry
        assert got.failure.kind == expected.failure.kind
        if not again:  # the list that is told may be another by then
            assert got.suspect == expected.suspect
            assert got.failure.message == expected.failure.message
        else:
            assert got.suspect.position == expected.suspect.position
    else:
        assert got == expected


def test_the_key_is_named_whose_line_has_an_end_within():
    got = saved(lambda key, values: [f"line {key}", "a\nb" if key == 4 else "c"], range(9))
    assert isinstance(got, Failed)
    for part in ("OutputError", "it has a line end", "in reduce, at key 4", "a\\nb"):
        assert part in got.failure.message


def test_many_lines_are_written_as_they_come(monkeypatch):
    monkeypatch.setattr("map_reduce.execution.formatted.PIECE_BYTES", 64)
    monkeypatch.setattr(results, "INLINE_BYTES_MAX", 100)
    records, data, form = saved(lambda key, values: [f"{key:03}"] * (key % 3), range(200))
    assert data == b"".join(b"%03d\n" % key * (key % 3) for key in range(200))
    assert (records, form) == (200, "lines")
