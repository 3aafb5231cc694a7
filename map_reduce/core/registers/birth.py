"""How a record comes into being without a race.

The first members stand in a *birth certificate*, and the job's id is the certificate's hash. So
whoever holds the id and a certificate that hashes to it knows who decided first, whoever handed
it over; two clients cannot create one record with different members, and creating it twice is the
same as creating it once. No message is sent: a record is born the moment its name is known, with no
value, in epoch 0.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import msgspec

from map_reduce.core.hashes import sha256
from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.core.messages.records import Config, RecordState
from map_reduce.errors import ProtocolError


class Record(NamedTuple):
    """A record's name and its first members: all that is needed to find its present ones."""

    name: str
    members: Config

    @property
    def at_birth(self) -> RecordState:
        return RecordState(None, (self.members,), 0, 0, (), born=self.members)

    @property
    def buried(self) -> RecordState:
        """What is left of it where it was deleted so long ago that nothing is remembered."""
        return msgspec.structs.replace(self.at_birth, deleted=True)


class Birth(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """A birth certificate: what the job is, something never used before, the first members."""

    about: bytes  # a digest of the job's specification
    nonce: bytes  # at least 16 random bytes, drawn by the client
    members: Config

    @cached_property
    def name(self) -> str:
        """The job's id: SHA-256 of the certificate, in hexadecimal."""
        return sha256(self.encode()).hexdigest()

    def record(self, label: str = "") -> Record:
        """One of the job's records, all of which are born with the same members."""
        return Record(f"{self.name}/{label}" if label else self.name, self.members)

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes, name: str) -> Birth:
        """The certificate of ``name``, from bytes that anybody may have sent.

        Raises:
            ProtocolError: they are not that certificate.
        """
        try:
            birth = msgspec.msgpack.decode(data, type=cls)
        except NOT_DECODABLE as error:
            raise ProtocolError(
                f"the birth certificate of {name} cannot be read: {error}"
            ) from error
        if birth.name != name:
            raise ProtocolError(f"what was sent as the birth certificate of {name} is another's")
        members = birth.members
        if not members or len(set(members)) != len(members):
            raise ProtocolError(f"the birth certificate of {name} names no one, or one twice")
        return birth
