"""Records on whole nodes."""

import pytest

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.registers.birth import Birth


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_client_keeps_a_record_on_the_nodes(ring_of, size):
    records = ring_of(size).records
    members = records.choose_members(identifier_of("a job"))
    assert 1 <= len(members) <= size  # a ring that has just formed may name fewer
    record = Birth(b"about", b"nonce %d" % size, members).record()
    assert records.change(record, lambda value: b"kept").changed
    assert records.read(record).value == b"kept"


def test_an_embedded_node_keeps_records(server):
    records = server._access.records
    record = Birth(b"about", b"nonce", records.choose_members(identifier_of("a job"))).record()
    assert records.change(record, lambda value: b"kept").changed
    assert records.read(record).value == b"kept"
