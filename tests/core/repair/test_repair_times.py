"""When a member looks, and which blocks it checks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.repair.checks import SUSPECTS_MAX, Checks
from map_reduce.core.repair.times import UNSETTLED_MAX, LookTimes

PLACES = [(None, (number,)) for number in range(3)]
SETTLE_S, INTERVAL_S = 1.0, 30.0

moments = st.tuples(
    st.floats(0.1, 5.0),  # seconds since the last one
    st.sampled_from(["nothing", "nothing", "change", "soon", "busy", "failed"]),
)


@given(st.lists(moments, max_size=80))
def test_looks_are_neither_rarer_than_the_interval_nor_sooner_than_things_settle(story):
    now_s, place, looked_s, restless_s = 0.0, 0, 0.0, 0.0
    times = LookTimes(SETTLE_S, INTERVAL_S, PLACES[0], now_s)
    for after_s, what in story:
        now_s += after_s
        changed = what == "change"
        if changed:
            place = (place + 1) % len(PLACES)
        if what == "soon":
            times.soon(now_s)
        restless_s = restless_s + after_s if changed else 0.0
        due = times.due(PLACES[place], now_s)
        if due:
            looked_s = now_s
            times.ended(busy=what == "busy", failed=what == "failed", now_s=now_s)
        if changed and restless_s < UNSETTLED_MAX * SETTLE_S:
            assert not due or restless_s >= SETTLE_S, "the neighbours have just changed"
        assert now_s - looked_s <= INTERVAL_S + UNSETTLED_MAX * SETTLE_S + 5.0


def test_failures_make_it_look_later_and_later_until_one_look_is_well():
    times = LookTimes(SETTLE_S, INTERVAL_S, PLACES[0], 0.0)
    now_s, gaps = 0.0, []
    for _ in range(7):
        began_s = now_s
        while not times.due(PLACES[0], now_s):
            now_s += 0.25
        gaps.append(now_s - began_s)
        times.ended(busy=False, failed=True, now_s=now_s)
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    times.ended(busy=True, failed=False, now_s=now_s)
    assert not times.due(PLACES[0], now_s + 0.5)
    assert times.due(PLACES[0], now_s + 1.0)


def test_suspects_come_first_then_what_was_found_then_a_new_round():
    checks = Checks(["a", "b"], 0.0, round_s=10.0)
    checks.suspect("s")
    assert [checks.next(lambda: "xy", 0.0) for _ in range(4)] == ["s", "a", "b", None]
    assert checks.next(lambda: "xy", 9.9) is None
    checks.suspect("b")
    assert [checks.next(lambda: "xy", 10.0) for _ in range(4)] == ["b", "x", "y", None]
    assert checks.next(lambda: (), 20.0) is None
    assert checks.next(lambda: "z", 29.0) is None


def test_suspects_are_bounded():
    checks = Checks([], 0.0)
    for number in range(SUSPECTS_MAX + 5):
        checks.suspect(str(number))
    found = 0
    while checks.next(lambda: (), 0.0) is not None:
        found += 1
    assert found == SUSPECTS_MAX
