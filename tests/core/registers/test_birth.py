"""Birth certificates certify themselves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from register_cluster import replica

from map_reduce.core.registers.birth import Birth
from map_reduce.errors import ProtocolError

MEMBERS = tuple(replica(number) for number in range(1, 6))
BIRTH = Birth(b"specification", b"never used before", MEMBERS)


def test_a_certificate_is_read_back():
    assert Birth.decode(BIRTH.encode(), BIRTH.name) == BIRTH


@pytest.mark.parametrize(
    "other",
    [
        Birth(b"another", BIRTH.nonce, MEMBERS),
        Birth(BIRTH.about, b"another", MEMBERS),
        Birth(BIRTH.about, BIRTH.nonce, MEMBERS[:3]),
        Birth(BIRTH.about, BIRTH.nonce, MEMBERS[::-1]),
        Birth(BIRTH.about, BIRTH.nonce, (replica(1, identity=9), *MEMBERS[1:])),
    ],
)
def test_everything_in_it_counts(other):
    assert other.name != BIRTH.name
    with pytest.raises(ProtocolError, match="another's"):
        Birth.decode(other.encode(), BIRTH.name)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(ProtocolError):
        Birth.decode(data, BIRTH.name)


@pytest.mark.parametrize("members", [(), (MEMBERS[0], MEMBERS[0])])
def test_members_are_some_and_distinct(members):
    birth = Birth(b"", b"", members)
    with pytest.raises(ProtocolError, match="no one, or one twice"):
        Birth.decode(msgspec.msgpack.encode(birth), birth.name)


def test_the_records_of_a_job_have_names_of_their_own_and_the_same_first_members():
    one, other = BIRTH.record(), BIRTH.record("shard 1")
    assert one.name != other.name
    assert one.at_birth == other.at_birth
    assert one.at_birth.configs == (MEMBERS,)
