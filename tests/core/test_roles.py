"""Who may ask what: a table over every message there is."""

from __future__ import annotations

import pytest

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    MESSAGES,
    BlockRef,
    Message,
    Ping,
    PutPiece,
    Request,
)
from map_reduce.core.roles import CLIENTS_ASK, Caller, Role, plain_host, refusal

CLIENT = Caller(Role.CLIENT, "bob", frozenset())
NODE = Caller(Role.NODE, "n1", frozenset({"10.0.0.5", "n1.example"}))


def blank(kind: type[Message]) -> Message:
    """A message of the kind; what it says does not matter here."""
    fields = dict.fromkeys(kind.__struct_fields__)
    if kind is PutPiece:
        fields["ref"] = BlockRef("job/input/0", 1, b"")  # type: ignore[assignment]
    return kind(**fields)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_client_may_ask_what_is_in_its_table_and_nothing_else(kind: type[Message]) -> None:
    reason = refusal(CLIENT, Request("", None, blank(kind)))
    if kind in CLIENTS_ASK:
        assert reason is None
    else:
        assert reason is not None
        assert "client bob" in reason


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_client_is_never_a_member_of_the_ring(kind: type[Message]) -> None:
    sender = Member(Address("10.0.0.5", 1), 1)
    assert "no member" in str(refusal(CLIENT, Request("", sender, blank(kind))))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_node_speaks_for_its_own_hosts_alone(kind: type[Message]) -> None:
    for host in ("10.0.0.5", "N1.example"):
        assert refusal(NODE, Request("", Member(Address(host, 1), 1), blank(kind))) is None
    for host in ("10.0.0.6", "n2.example", "127.0.0.1", ""):
        reason = refusal(NODE, Request("", Member(Address(host, 1), 1), blank(kind)))
        assert "n1 is not for" in str(reason)


@pytest.mark.parametrize("name", ["job/map/0.0", "job/result/0.0"])
def test_a_client_does_not_store_what_workers_make(name: str) -> None:
    body = PutPiece(BlockRef(name, 1, b""), 0, b"x")
    assert name in str(refusal(CLIENT, Request("", None, body)))
    assert refusal(NODE, Request("", None, body)) is None


def test_within_a_process_and_a_user_hosts_are_not_told_apart() -> None:
    anybody = Caller(Role.NODE, "x")
    assert refusal(anybody, Request("", Member(Address("anywhere", 1), 1), Ping())) is None


@pytest.mark.parametrize(
    ("host", "plain"),
    [("::0001", "::1"), ("Node1.Example.", "node1.example"), ("127.0.0.1", "127.0.0.1")],
)
def test_one_form_of_a_host(host: str, plain: str) -> None:
    assert plain_host(host) == plain
