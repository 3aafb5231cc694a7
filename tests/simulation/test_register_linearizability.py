"""The judge of histories, on histories known to be right and wrong."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.simulation.registers.linearizability import NEVER, Operation, after, explain


def op(kind, *arguments, at, result=None):
    """``at`` is (called, returned), or (called,) where the outcome is unknown."""
    called, returned = (*at, NEVER)[:2]
    return Operation(kind, arguments, called, returned, result)


RIGHT = {
    "nothing": [],
    "one after the other": [
        op("write", 1, at=(0, 1)),
        op("read", at=(2, 3), result=1),
        op("cas", 1, 2, at=(4, 5), result=True),
        op("cas", 1, 3, at=(6, 7), result=False),
        op("add", 5, at=(8, 9), result=7),
    ],
    "a read during a write sees the value before": [
        op("write", 1, at=(0, 10)),
        op("read", at=(1, 2), result=0),
        op("read", at=(3, 4), result=1),
    ],
    "writes at once, in either order": [
        op("write", 1, at=(0, 10)),
        op("write", 2, at=(0, 10)),
        op("read", at=(11, 12), result=1),
    ],
    "an unknown write that happened, late": [
        op("write", 1, at=(0,)),
        op("read", at=(1, 2), result=0),
        op("read", at=(100, 101), result=1),
    ],
    "an unknown write that never happened": [
        op("write", 1, at=(0,)),
        op("read", at=(1, 2), result=0),
    ],
    "an unknown compare-and-set between two known ones": [
        op("cas", 0, 1, at=(0, 1), result=True),
        op("cas", 1, 2, at=(2,)),
        op("cas", 2, 3, at=(3, 4), result=True),
    ],
    "equal times are at once": [op("write", 1, at=(0, 5)), op("read", at=(5, 6), result=0)],
    "the greedy order is a dead end": [
        op("write", 1, at=(0, 3)),
        op("write", 2, at=(0, 4)),
        op("cas", 1, 7, at=(0, 9), result=True),
        op("read", at=(5, 6), result=7),
    ],
}

WRONG = {
    "a read of what nobody wrote": [op("read", at=(0, 1), result=5)],
    "a lost write": [op("write", 1, at=(0, 1)), op("read", at=(2, 3), result=0)],
    "a value that comes back": [
        op("write", 1, at=(0, 1)),
        op("write", 2, at=(2, 3)),
        op("read", at=(4, 5), result=2),
        op("read", at=(6, 7), result=1),
    ],
    "reads that disagree on the order": [
        op("write", 1, at=(0, 20)),
        op("read", at=(1, 2), result=1),
        op("read", at=(3, 4), result=0),
    ],
    "two compare-and-sets from one value": [
        op("cas", 0, 1, at=(0, 10), result=True),
        op("cas", 0, 2, at=(0, 10), result=True),
    ],
    "two additions with one result": [
        op("add", 1, at=(0, 10), result=1),
        op("add", 1, at=(0, 10), result=1),
    ],
    "a write that happens twice": [
        op("write", 1, at=(0, 30)),
        op("read", at=(1, 2), result=1),
        op("write", 2, at=(3, 4)),
        op("read", at=(5, 6), result=2),
        op("read", at=(7, 8), result=1),
    ],
    "an unknown write seen before its call": [
        op("read", at=(0, 1), result=1),
        op("write", 1, at=(2,)),
    ],
    "an unknown write that happens and then does not": [
        op("write", 1, at=(0,)),
        op("read", at=(1, 2), result=1),
        op("read", at=(3, 4), result=0),
    ],
    "two halves of a split register": [
        op("write", 1, at=(0, 1)),
        op("add", 10, at=(2, 3), result=11),
        op("add", 100, at=(4, 5), result=101),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_is_found_right(name):
    assert explain(RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_found_wrong(name):
    assert explain(WRONG[name])


def linearizable_by_brute_force(history):
    """All orders of all subsets that leave out only unknown operations."""
    for order in permutations(range(len(history))):
        value = 0
        for place, index in enumerate(order):
            operation = history[index]
            rest = [history[i] for i in order[place + 1 :]]
            if any(later.returned < operation.called for later in rest):
                break
            following = after(value, operation)
            if following is None:
                break
            value = following
        else:
            return True
    unknown = [i for i, operation in enumerate(history) if operation.returned == NEVER]
    return any(linearizable_by_brute_force(history[:i] + history[i + 1 :]) for i in unknown)


@st.composite
def operations(draw):
    called = draw(st.integers(0, 8))
    returned = draw(st.one_of(st.integers(called, called + 6), st.just(NEVER)))
    small = st.integers(0, 2)
    kind = draw(st.sampled_from(["read", "write", "cas", "add"]))
    arguments = {"read": (), "write": (draw(small),), "cas": (draw(small), draw(small))}
    result = draw(st.booleans()) if kind == "cas" else draw(small)
    return Operation(kind, arguments.get(kind, (1,)), called, returned, result)


def test_a_write_of_what_is_there_may_be_needed_later():
    at_once = {"called": 0, "returned": 0}
    history = [
        Operation("write", (0,), result=0, **at_once),
        Operation("add", (1,), result=1, **at_once),
        Operation("add", (1,), result=1, **at_once),
    ]
    assert explain(history) is None


@given(st.lists(operations(), max_size=5))
def test_it_agrees_with_trying_every_order(history):
    assert (explain(history) is None) == linearizable_by_brute_force(history)


def test_long_histories_with_unknown_outcomes_are_quick():
    history = [op("write", 1000 + i, at=(i,)) for i in range(12)]
    history += [op("add", 1, at=(100 + 3 * i, 105 + 3 * i), result=i + 1) for i in range(200)]
    assert explain(history) is None


@given(st.lists(operations(), max_size=5), st.permutations(range(5)))
def test_what_is_believed_about_the_order_changes_nothing(history, places):
    placed = [replace(o, place=places[i]) for i, o in enumerate(history)]
    assert (explain(placed) is None) == (explain(history) is None)
