"""The values of a key that read from disk like a list."""

from __future__ import annotations

import json
import pickle

import pytest
from execution_runs import folder
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.execution import stored_values
from map_reduce.execution.stored_values import StoredValues, ValueFile


@pytest.fixture(autouse=True, scope="module")
def small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_values, "VALUES_MAX", 4)
        patch.setattr(stored_values, "VALUES_AT_FIRST", 3)
        yield


ANY = st.one_of(st.integers(-3, 3), st.text(max_size=2), st.none(), st.floats(allow_nan=False))
SLICES = st.builds(
    slice,
    st.none() | st.integers(-30, 30),
    st.none() | st.integers(-30, 30),
    st.none() | st.integers(-5, 5).filter(bool),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(ANY, st.lists(ANY, max_size=5)), max_size=12), st.lists(SLICES, max_size=3)
)
def test_they_are_like_the_list(batches, slices):
    expected = []
    with folder() as here:
        file = ValueFile(here / "values")
        other = StoredValues(file)  # whose pieces lie between
        stored = StoredValues(file)
        for batch in batches:
            if isinstance(batch, list):
                stored.extend(iter(batch))
                expected += batch
            else:
                stored.append(batch)
                expected.append(batch)
            other.append("x")
            assert len(stored) == len(expected)
        values = stored.view()
        for cut in slices:
            values, expected = values[cut], expected[cut]
        assert len(values) == len(expected)
        assert bool(values) == bool(expected)
        for _ in range(2):
            assert list(values) == expected
        assert list(reversed(values)) == expected[::-1]
        places = range(-len(expected), len(expected))
        assert [values[place] for place in places] == [expected[place] for place in places]
        for wanted in [*expected[:3], "never"]:
            assert (wanted in values) == (wanted in expected)
            assert values.count(wanted) == expected.count(wanted)
            if wanted in expected:
                assert values.index(wanted) == expected.index(wanted)
        assert values == expected
        assert values != [*expected, 1]
        more = [1]
        assert values + more == [*expected, 1]
        assert more + values == [1, *expected]
        assert values.copy() == expected
        again = pickle.loads(pickle.dumps(values))
        assert type(again) is list
        assert again == expected
        assert [(a, b) for a in values for b in values] == [
            (a, b) for a in expected for b in expected
        ]
        for place in (len(expected), -len(expected) - 1):
            with pytest.raises(IndexError):
                values[place]
        file.close()
        assert not [*here.iterdir()]


@pytest.fixture
def values():
    with folder() as here:
        file = ValueFile(here / "values")
        stored = StoredValues(file)
        stored.extend(range(100))
        yield stored.view()
        file.close()


@pytest.mark.parametrize("method", ["append", "extend", "sort", "pop", "reverse", "insert"])
def test_what_would_change_them_says_why_not(values, method):
    with pytest.raises(AttributeError, match=rf"{method}.*too many values for memory.*heapq"):
        getattr(values, method)


def test_neither_can_their_items_be_changed(values):
    with pytest.raises(AttributeError, match="too many values"):
        values[3] = 1
    with pytest.raises(AttributeError, match="too many values"):
        del values[3]
    with pytest.raises(AttributeError, match="too many values"):
        values += [1]
    with pytest.raises(AttributeError, match="have no 'upper'"):
        values.upper()
    with pytest.raises(TypeError):
        hash(values)
    with pytest.raises(TypeError):
        json.dumps(values)  # rather than an empty list


def test_they_show_themselves(values):
    assert repr(values) == "<100 values on disk: [0, 1, 2, …]>"
    with pytest.raises(ValueError, match="not among the values"):
        values.index(1000)


def test_after_reduce_they_are_gone_and_say_so():
    with folder() as here:
        file = ValueFile(here / "values")
        stored = StoredValues(file)
        stored.extend(range(100))
        values = stored.view()
        file.close()
        with pytest.raises(ValueError, match="gone once reduce has returned"):
            list(values)
