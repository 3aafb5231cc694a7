from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.chord.view import SECTORS, TOMBSTONES_MAX, MembershipView
from map_reduce.core.identifiers import Address, Member, distance
from map_reduce.core.messages import Sighting

ME = Member(Address("me", 1), 1)
CROWD = [Member(Address("peer", port), life) for port in range(30) for life in (1, 2)]
A, A_AGAIN, B, *_ = CROWD


def never(member: Member) -> float | None:
    return None


def merged(view: MembershipView, *sightings: Sighting, now_s: float = 100.0) -> list[Member]:
    return view.merge(sightings, now_s, never, news=True)


def living(member: Member, version: int = 0) -> Sighting:
    return Sighting(member, version, False, 0.0)


def gone(member: Member, version: int = 0, silent_s: float = 9.0) -> Sighting:
    return Sighting(member, version, True, silent_s)


ANY_SIGHTING = st.builds(
    Sighting, st.sampled_from(CROWD), st.integers(0, 2), st.booleans(), st.just(9.0)
)


@given(st.lists(ANY_SIGHTING, max_size=60), st.randoms(use_true_random=False))
def test_what_is_believed_does_not_depend_on_the_order(
    sightings: list[Sighting], random: object
) -> None:
    """Of each address the highest incarnation, version and "gone", whatever came when."""
    view, other = MembershipView(ME), MembershipView(ME)
    merged(view, *sightings)
    shuffled = list(sightings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    merged(other, *shuffled)
    best: dict[Address, Sighting] = {}
    for told in sightings:
        known = best.get(told.member.address, told)
        best[told.member.address] = max(known, told, key=rank)
    alive = [told.member for told in best.values() if not told.gone]
    expected = sorted(alive, key=lambda m: distance(ME.identifier, m.identifier))
    assert view.living() == other.living() == tuple(expected)
    assert view.digests() == other.digests()


def rank(told: Sighting) -> tuple[int, int, bool]:
    return told.member.incarnation, told.version, told.gone


@given(
    st.lists(ANY_SIGHTING, max_size=60),
    st.lists(ANY_SIGHTING, max_size=60),
)
def test_one_exchange_each_way_makes_two_views_equal(
    mine: list[Sighting], theirs: list[Sighting]
) -> None:
    view = MembershipView(ME)
    peer = Member(Address("partner", 1), 1)
    other = MembershipView(peer)
    merged(view, *mine, living(peer))
    merged(other, *theirs, living(ME))
    exchange(view, other, ME)
    exchange(other, view, peer)
    assert set(view.living()) - {peer} == set(other.living()) - {ME}
    assert view.digests() == other.digests()


def exchange(asker: MembershipView, asked: MembershipView, me: Member) -> None:
    rest = asked.differing(asker.digests(), me, 100.0)
    merged(asked, *asker.news(100.0))
    merged(asker, *asked.news(100.0), *rest)


def test_a_death_is_not_undone_by_who_has_not_heard_of_it() -> None:
    view = MembershipView(ME)
    merged(view, living(A), gone(A), living(A))
    view.learn([A])
    assert view.living() == ()
    assert view.is_gone(A)


def test_a_higher_version_and_a_later_life_always_win() -> None:
    view = MembershipView(ME)
    merged(view, gone(A, 3))
    assert merged(view, living(A, 4)) == [A]
    assert view.living() == (A,)
    merged(view, gone(A, 3))
    assert view.living() == (A,)
    merged(view, gone(A, 9), living(A_AGAIN))
    assert view.living() == (A_AGAIN,)
    merged(view, gone(A, 10))
    assert view.living() == (A_AGAIN,)


def test_what_is_forgotten_does_not_come_back_as_less_than_it_was() -> None:
    view = MembershipView(ME)
    merged(view, living(A, 2))
    view.forget(A)
    assert view.living() == ()
    merged(view, gone(A, 1))
    assert not view.is_gone(A)
    view.gone(A, since_s=90.0)
    assert view.sighting(A.address, 90.0) == gone(A, 2, silent_s=0.0)
    merged(view, living(A_AGAIN))
    view.forget(A_AGAIN)
    merged(view, living(A, 7), gone(A, 7))
    view.learn([A])
    assert view.sighting(A.address, 100.0) is None
    view.learn([A_AGAIN])
    assert view.living() == (A_AGAIN,)


def test_who_learns_that_it_is_called_gone_refutes_it() -> None:
    view = MembershipView(ME)
    view.tell_nothing()
    assert merged(view, gone(ME, 4)) == [ME]
    assert view.news(100.0) == (living(ME, 5),)
    assert merged(view, gone(ME, 4)) == [], "once is enough"


def test_who_heard_of_it_since_then_does_not_believe_it_and_says_so() -> None:
    view = MembershipView(ME)
    merged(view, living(A))
    refuted = view.merge([gone(A, 0, silent_s=9.0)], 100.0, lambda m: 95.0, news=True)
    assert refuted == [A]
    assert view.sighting(A.address, 100.0) == living(A, 1)
    assert view.merge([gone(A, 1, silent_s=4.0)], 100.0, lambda m: 95.0, news=True) == []
    assert view.is_gone(A)


def test_a_message_of_it_refutes_its_death() -> None:
    view = MembershipView(ME)
    merged(view, living(A))
    view.gone(A, since_s=90.0)
    assert view.living() == ()
    view.heard(A, 100.0)
    assert view.sighting(A.address, 100.0) == living(A, 1)


def test_who_asks_is_told_that_it_is_called_gone() -> None:
    view = MembershipView(ME)
    view.gone(A, since_s=90.0)
    assert view.differing((), A, 100.0) == (gone(A, 0, 10.0),)


def test_news_is_told_some_times_the_latest_first_and_then_no_more() -> None:
    view = MembershipView(ME)
    view.tell_nothing()
    merged(view, living(A))
    merged(view, living(B))
    assert view.news(100.0) == (living(B), living(A))
    assert view.has_fresh_news
    told = sum(bool(view.news(100.0)) for _ in range(100))
    assert 3 <= told < 20
    assert not view.has_fresh_news


def test_digests_tell_sectors_apart() -> None:
    view, other = MembershipView(ME), MembershipView(ME)
    for each in (view, other):
        merged(each, *map(living, CROWD[::2]))
    merged(other, living(A, 1))
    differ = [mine != theirs for mine, theirs in zip(view.digests(), other.digests(), strict=True)]
    assert differ.count(True) == 1
    assert living(A, 1) in other.differing(view.digests(), None, 100.0)
    assert len(other.differing(view.digests(), None, 100.0)) < len(CROWD) // 2


def test_tombstones_are_bounded() -> None:
    view = MembershipView(ME)
    many = [Member(Address("grave", port), 1) for port in range(TOMBSTONES_MAX + 50)]
    merged(view, *map(gone, many))
    assert view.is_gone(many[-1])
    assert not view.is_gone(many[0])


def test_a_view_that_is_full_keeps_the_nearest_and_compares_nothing() -> None:
    view = MembershipView(ME, members_max=5)
    merged(view, *map(living, CROWD[::2]))
    nearest = sorted(CROWD[::2], key=lambda m: distance(ME.identifier, m.identifier))
    assert view.living() == tuple(nearest[:5])
    assert view.is_full
    assert view.digests() == ()
    assert members_of(view.differing((0,) * SECTORS, None, 100.0)) == set(nearest[:5])


def members_of(sightings: Iterable[Sighting]) -> set[Member]:
    return {sighting.member for sighting in sightings}


many = st.lists(st.integers(0, 400), min_size=1, max_size=80, unique=True)


@given(many, st.lists(st.integers(0, 400), max_size=10), st.integers(0, 999), st.integers(0, 6))
def test_what_is_told_of_differing_sectors_is_all_that_is_known_of_them(
    hosts: list[int], dead: list[int], gone_s: int, other: int
) -> None:
    me, *others = (Member(Address(f"n{host}", 1), 1) for host in hosts)
    view = MembershipView(me)
    view.learn(others)
    buried = [m for host in dict.fromkeys(dead) if (m := Member(Address(f"n{host}", 1), 1)) != me]
    for member in buried:
        view.gone(member, gone_s)
    asked = list(view.digests())
    for sector in range(other, SECTORS, 3):
        asked[sector] ^= 1
    told = view.differing(asked, None, 1000.0)
    known = [me, *view.living(), *(m for m in buried if view.is_gone(m))]
    wanted = [m for m in known if m.identifier * SECTORS >> 160 in range(other, SECTORS, 3)]
    assert [sighting.member for sighting in told] == wanted
    assert all(view.sighting(t.member.address, 1000.0) == t for t in told)


@given(many, st.integers(0, 400))
def test_clockwise_from_a_place_are_all_in_ring_order(hosts: list[int], place: int) -> None:
    me, *others = (Member(Address(f"n{host}", 1), 1) for host in hosts)
    view = MembershipView(me)
    view.learn(others)
    start = Address(f"n{place}", 1).identifier
    expected = sorted(others, key=lambda m: distance(start, m.identifier))
    assert list(view.clockwise_from(start)) == expected
