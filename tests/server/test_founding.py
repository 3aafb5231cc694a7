"""Who begins a ring, where all nodes are started alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address
from map_reduce.errors import ConfigError, Refused
from map_reduce.server.founding import (
    SEEDS_AT_A_TIME,
    TURN_S,
    all_behind,
    in_turn,
    join_or_found,
    own_host,
)

A, B, C = (Address(f"10.0.0.{number}", 9000) for number in (2, 9, 10))


class Story:
    """A node that looks for a ring; ``ring_at_s``: when somebody else begins one."""

    def __init__(self, ring_at_s: float = float("inf")) -> None:
        self.now = 0.0
        self.ring_at_s = ring_at_s
        self.asked: list[tuple[Address, ...]] = []
        self.end = ""

    def join(self, seeds: Sequence[Address]) -> None:
        self.asked.append(tuple(seeds))
        if self.now < self.ring_at_s:
            raise Refused("no node to join answers")
        self.end = "joined"

    def found(self) -> None:
        self.end = "founded"

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def run(self, me: Address, seeds: Sequence[Address]) -> str:
        join_or_found(me, seeds, self.join, self.found, now_s=lambda: self.now, wait_s=self.wait)
        return self.end


def test_the_first_in_turn_begins_at_once_where_nobody_is_in_a_ring() -> None:
    story = Story()
    assert story.run(A, [C, B]) == "founded"
    assert story.now == 0.0
    assert story.asked == [(B, C)]


def test_nobody_begins_a_ring_beside_one_that_is_there() -> None:
    assert Story(ring_at_s=0.0).run(A, [B]) == "joined"


def test_the_others_wait_for_their_turn_and_join_meanwhile() -> None:
    late = Story(ring_at_s=TURN_S / 2)
    assert late.run(B, [A, C]) == "joined"
    alone = Story()
    assert alone.run(C, [A, B]) == "founded"
    assert alone.now == pytest.approx(2 * TURN_S)


def test_a_ring_that_the_node_does_not_fit_into_is_an_error_and_no_reason_to_begin_one() -> None:
    def join(seeds: Sequence[Address]) -> None:
        raise ConfigError("replicas is 5 here and 3 there")

    with pytest.raises(ConfigError, match="replicas"):
        join_or_found(A, [B], join, lambda: pytest.fail("it began one"))


@given(st.integers(2, 40), st.integers(0, 39))
def test_everybody_is_asked_in_the_end_a_few_at_a_time(nodes: int, me: int) -> None:
    addresses = [Address(f"10.0.0.{number}", 9000) for number in range(1, nodes + 1)]
    story = Story()
    story.run(addresses[me % nodes], addresses)
    assert max(map(len, story.asked)) <= SEEDS_AT_A_TIME
    if me % nodes == nodes - 1:
        assert {a for seeds in story.asked for a in seeds} == set(addresses[:-1])


def test_turns_go_by_number_and_names_come_last() -> None:
    name = Address("node", 9000)
    assert in_turn([name, C, B, A, B]) == [A, B, C, name]


def test_a_name_of_several_addresses_stands_for_all_of_them() -> None:
    names = {"node": ["10.0.0.2", "10.0.0.9"], "one": ["10.0.0.3"]}
    seeds = [Address("node", 9000), Address("one", 9001), Address("later", 1)]

    def resolve(host: str) -> Sequence[str]:
        if host not in names:
            raise OSError("no such name")
        return names[host]

    assert all_behind(seeds, resolve) == [A, B, *seeds]


def test_the_own_host_is_as_given_or_what_the_machine_is_called() -> None:
    assert own_host("10.1.2.3", lambda host: pytest.fail("looked up")) == "10.1.2.3"
    assert own_host("auto", lambda host: ["127.0.1.1", "10.0.0.7"]) == "10.0.0.7"
    with pytest.raises(ConfigError, match="stands for this machine alone"):
        own_host("auto", lambda host: ["127.0.1.1"])
