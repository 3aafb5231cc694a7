from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.chord.invariants import (
    MemberState,
    Ring,
    broken,
    flaws,
    lost_principals,
    principals,
    ring_of,
    unfounded,
)
from map_reduce.core.identifiers import Address, Member, between
from map_reduce.simulation.placing import in_ring_order

A, B, C, D = (Member(address, 1) for address in in_ring_order(4))


def ring(places: dict[Member, str]) -> Ring:
    """``{A: "d bc"}``: predecessor d, successors b and c."""
    names = {member.address.host: member for member in (A, B, C, D)}
    return ring_of(
        MemberState(member, names[text[0]], tuple(names[name] for name in text[2:]))
        for member, text in places.items()
    )


IDEAL = ring({A: "d bc", B: "a cd", C: "b da", D: "c ab"})


def test_the_ideal_ring_has_no_flaw() -> None:
    assert broken(IDEAL) == []
    assert flaws(IDEAL, 2) == []
    assert principals(IDEAL) == {A, B, C, D}
    assert flaws(ring({A: "a a"}), 2) == []


def test_a_wrong_list_and_a_wrong_predecessor_are_flaws() -> None:
    assert any("successors" in flaw for flaw in flaws(IDEAL, 3))
    assert flaws(ring({A: "b b", B: "b a"}), 2) == ["b:" + str(B.address.port) + flaw_of_b()]


def flaw_of_b() -> str:
    return f" has predecessor {B}, not {A}"


def test_r1_a_list_of_the_dead() -> None:
    assert any(text.startswith("R1") for text in broken(ring({A: "d bc", D: "a ab"})))


def test_r2_disorder_repetition_and_self() -> None:
    for text in ("d cb", "d bb", "d ab"):
        wrong = broken(ring({A: text, B: "a cd", C: "b da", D: "c ab"}))
        assert any(line.startswith("R2") for line in wrong), text


def test_r3_two_rings_and_a_ring_that_goes_round_twice() -> None:
    two = broken(ring({A: "c c", C: "a a", B: "d d", D: "b b"}))
    assert any("2 rings" in text for text in two)
    twice = broken(ring({A: "d c", C: "a b", B: "c d", D: "b a"}))
    assert any("goes round 2 times" in text for text in twice)


def test_r5_a_skipped_member_is_no_principal() -> None:
    skipping = ring({A: "d cd", B: "a cd", C: "b da", D: "c ab"})
    assert principals(skipping) == {A, C, D}
    assert lost_principals(principals(IDEAL), principals(skipping), skipping) != []
    without_b = ring({A: "d cd", C: "b da", D: "c ac"})
    assert lost_principals(principals(IDEAL), principals(without_b), without_b) == []


def test_r5_an_earlier_incarnation_does_not_stand_for_the_member() -> None:
    old = Member(B.address, 0)
    states = ring_of(
        [MemberState(A, B, (old, C)), MemberState(B, A, (C, A)), MemberState(C, B, (A, B))]
    )
    assert B not in principals(states)


def test_r5_an_earlier_incarnation_at_the_end_of_a_list_does_not_hide_who_is_before_it() -> None:
    """Else B would be a principal only for as long as C lives again."""
    old = Member(C.address, 0)
    with_c = ring_of(
        [
            MemberState(D, C, (A, old)),
            MemberState(A, D, (B, C)),
            MemberState(B, A, (C, D)),
            MemberState(C, B, (D, A)),
        ]
    )
    without = ring_of([state for state in with_c.values() if state.member != C])
    assert B not in principals(with_c)
    assert B not in principals(without)


def test_r6_a_pointer_from_nowhere() -> None:
    before = MemberState(A, D, (B, C))
    assert unfounded(before, MemberState(A, D, (C, D)), ()) == [], "next in the list"
    assert unfounded(before, MemberState(A, D, (D,)), ()) != []
    assert unfounded(before, MemberState(A, D, (D,)), {D}) == [], "it just answered"
    assert unfounded(before, MemberState(A, C, (B, C)), ()) != []


ADDRESSES = [Address(f"n{number}", 1) for number in range(12)]
LISTS = st.dictionaries(
    st.sampled_from([Member(address, 1) for address in ADDRESSES]),
    st.lists(st.builds(Member, st.sampled_from(ADDRESSES), st.integers(1, 2)), max_size=5),
)


@given(LISTS)
def test_principals_are_those_that_no_pair_skips(lists: dict[Member, list[Member]]) -> None:
    """The definition, word by word, beside the count of runs."""
    states = ring_of([MemberState(m, m, tuple(named)) for m, named in lists.items()])
    taken = {member.address: member for member in states}
    skipped = set()
    for member, named in lists.items():
        now = [m for m in named[:-1] if taken.get(m.address, m) == m]
        chain = [member, *now, *named[-1:]]
        for a, b in pairwise(chain):
            skipped |= {m for m in states if between(a.identifier, m.identifier, b.identifier)}
    assert principals(states) == states.keys() - skipped
