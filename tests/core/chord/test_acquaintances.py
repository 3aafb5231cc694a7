from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.chord.acquaintances import REMEMBERED_MAX, Acquaintances
from map_reduce.core.identifiers import Address, Member, distance

VIEW_MAX = 64
ME = Member(Address("me", 1), 1)
CROWD = [
    Member(Address("peer", port), incarnation) for port in range(100) for incarnation in (1, 2)
]


@given(st.lists(st.sampled_from(CROWD), max_size=250))
def test_the_view_keeps_the_nearest_and_of_each_the_latest(learnt: list[Member]) -> None:
    acquaintances = Acquaintances(ME, VIEW_MAX)
    acquaintances.learn(learnt)
    latest: dict[Address, Member] = {}
    for member in learnt:
        latest[member.address] = max(member, latest.get(member.address, member))
    nearest = sorted(latest.values(), key=lambda m: distance(ME.identifier, m.identifier))
    places = [m.address for m in acquaintances.view()]
    assert places == [m.address for m in nearest[:VIEW_MAX]]
    if len(latest) <= VIEW_MAX:
        assert acquaintances.view() == tuple(nearest)


def test_nobody_is_acquainted_with_itself() -> None:
    acquaintances = Acquaintances(ME)
    acquaintances.learn([Member(ME.address, 7)])
    acquaintances.remember_seeds([ME.address])
    assert acquaintances.view() == ()
    assert acquaintances.next_remembered() is None


def test_forgetting_an_earlier_incarnation_keeps_the_later() -> None:
    acquaintances = Acquaintances(ME)
    early, late = CROWD[:2]
    acquaintances.learn([late])
    acquaintances.forget(early)
    assert acquaintances.view() == (late,)
    acquaintances.forget(late)
    assert acquaintances.view() == ()


def test_the_remembered_are_bounded_and_take_turns() -> None:
    acquaintances = Acquaintances(ME)
    for member in CROWD[::2]:
        acquaintances.remember_dropped(member)
    seed = Address("seed", 1)
    acquaintances.remember_seeds([seed])
    last = [member.address for member in CROWD[::2][-REMEMBERED_MAX:]]
    assert acquaintances.remembered() == (*last, seed)
    turns = {acquaintances.next_remembered() for _ in range(REMEMBERED_MAX + 1)}
    assert turns == {*last, seed}
