"""Who may ask what: a table over every message there is."""

from __future__ import annotations

import msgspec
import pytest

from map_reduce.core import names
from map_reduce.core.digests import DIGEST_BYTES
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    MESSAGES,
    BlockRef,
    CancelJob,
    CheckFunctions,
    GetJob,
    Message,
    Ping,
    PutPiece,
    ReleaseJob,
    Request,
    SubmitJob,
)
from map_reduce.core.roles import CLIENTS_ASK, Caller, Role, plain_host, refusal

JOB = "0123456789abcdef" * 4
CLIENT = Caller(Role.CLIENT, "bob", frozenset())
NODE = Caller(Role.NODE, "n1", frozenset({"10.0.0.5", "n1.example"}))


def blank(kind: type[Message]) -> Message:
    """A message of the kind; what it says does not matter here."""
    fields: dict[str, object] = dict.fromkeys(kind.__struct_fields__)
    right = {
        "job_id": JOB,
        "check_id": names.check(JOB, 0),
        "ref": ref_of(f"{JOB}/input/0"),
        "rows": (),
    }
    fields.update({name: value for name, value in right.items() if name in fields})
    return kind(**fields)


def ref_of(name: str, digest: bytes = bytes(DIGEST_BYTES)) -> BlockRef:
    return BlockRef(name, 1, digest)


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


@pytest.mark.parametrize("kind", ["map", "result"])
def test_a_client_does_not_store_what_workers_make(kind: str) -> None:
    name = f"{JOB}/{kind}/0.0.0"
    body = PutPiece(ref_of(name), 0, b"x")
    assert name in str(refusal(CLIENT, Request("", None, body)))
    assert refusal(NODE, Request("", None, body)) is None


PATHS = ("", "/", "..", "../..", "/etc")
STRANGE = (*PATHS, "a", JOB[1:], JOB.upper(), f"{JOB}\n", "a" * 65, "0" * 9999)


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("kind", [SubmitJob, GetJob, CancelJob, ReleaseJob])
def test_a_client_names_jobs_that_there_can_be(kind: type[Message], name: str) -> None:
    """What else it names would be more than one job's, or a path, or take up memory."""
    body = msgspec.structs.replace(blank(kind), job_id=name)
    assert "no job" in str(refusal(CLIENT, Request("", None, body)))


@pytest.mark.parametrize("name", [*STRANGE, JOB, f"check-{JOB}-", f"check-{JOB}-1/..", "check-x-1"])
def test_a_client_names_checks_that_there_can_be(name: str) -> None:
    body = msgspec.structs.replace(blank(CheckFunctions), check_id=name)
    assert "no check" in str(refusal(CLIENT, Request("", None, body)))


@pytest.mark.parametrize(
    "name", [*STRANGE, f"{JOB}/", f"{JOB}/ÿ", f"{JOB}/\0", f"{JOB}/{'n' * 65}", f"x/{JOB}"]
)
def test_a_client_stores_blocks_that_there_can_be(name: str) -> None:
    body = PutPiece(ref_of(name), 0, b"x")
    assert "no block" in str(refusal(CLIENT, Request("", None, body)))


@pytest.mark.parametrize("digest", [b"", bytes(DIGEST_BYTES + 1), bytes(1 << 20)])
def test_a_client_stores_no_block_with_another_digest(digest: bytes) -> None:
    body = PutPiece(ref_of(f"{JOB}/input/0", digest), 0, b"x")
    assert "digest" in str(refusal(CLIENT, Request("", None, body)))


def test_what_a_client_names_itself_is_let_in() -> None:
    own = (names.specification(JOB), names.functions(JOB), names.input_block(JOB, 10**9, 9))
    for name in own:
        assert refusal(CLIENT, Request("", None, PutPiece(ref_of(name), 0, b"x"))) is None


def test_within_a_process_and_a_user_hosts_are_not_told_apart() -> None:
    anybody = Caller(Role.NODE, "x")
    assert refusal(anybody, Request("", Member(Address("anywhere", 1), 1), Ping())) is None


@pytest.mark.parametrize(
    ("host", "plain"),
    [("::0001", "::1"), ("Node1.Example.", "node1.example"), ("127.0.0.1", "127.0.0.1")],
)
def test_one_form_of_a_host(host: str, plain: str) -> None:
    assert plain_host(host) == plain
