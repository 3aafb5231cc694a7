"""Identifiers on the ring, the addresses and members that have them, and arcs between them.

The ring is the circle 0 … 2**160 - 1 (Stoica et al., SIGCOMM 2001, section 4.2). Every hash
that places something on it is taken here, so nothing can be hashed twice by accident:
:func:`identifier_of` is the only way from bytes to an :data:`Identifier`.
"""

from __future__ import annotations

import ipaddress
from functools import cached_property, lru_cache
from typing import NewType

import msgspec

from map_reduce.core.hashes import sha1
from map_reduce.errors import ConfigError

Identifier = NewType("Identifier", int)

RING_BITS = 160
RING_SIZE = 1 << RING_BITS


def identifier_of(name: str) -> Identifier:
    """The place of a name (an address, a block's name, a job's id) on the ring: its SHA-1."""
    digest = sha1(name.encode(), usedforsecurity=False).digest()
    return Identifier(int.from_bytes(digest, "big"))


_address_identifier = lru_cache(maxsize=1 << 18)(identifier_of)


def between(after: Identifier, x: Identifier, before: Identifier) -> bool:
    """Whether x lies strictly inside the arc from ``after`` clockwise to ``before``.

    Where both ends are the same place the arc is the whole circle but that place
    (Zave's ``btw``).
    """
    if after < before:
        return after < x < before
    return after < x or x < before if x != after else False


def in_arc(after: Identifier, x: Identifier, upto: Identifier) -> bool:
    """Whether x lies in the half-open arc (after, upto]: the keys that ``upto`` owns."""
    return x == upto or between(after, x, upto)


def distance(start: Identifier, end: Identifier) -> int:
    """How far it is clockwise from start to end."""
    return (end - start) % RING_SIZE


_NOT_IN_HOSTS = frozenset("[]/@ \t\r\n")


class Address(msgspec.Struct, frozen=True, array_like=True, order=True, dict=True, cache_hash=True):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @cached_property
    def identifier(self) -> Identifier:
        return _address_identifier(str(self))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as not."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``.

        Raises:
            ConfigError: the text is neither; names the text.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""
        if not host or set(host) & _NOT_IN_HOSTS:
            colon = ""
        if not colon or not (port.isascii() and port.isdigit() and int(port[:6]) < 65536):
            raise ConfigError(f"{text!r} is not an address; write HOST:PORT, as in 127.0.0.1:9000")
        return cls(host, int(port))


class Member(msgspec.Struct, frozen=True, array_like=True, order=True, dict=True, cache_hash=True):
    """One life of a node: a restart at the same address is another member.

    ``incarnation`` is drawn anew at each start and is larger at a later one.
    """

    address: Address
    incarnation: int

    @cached_property
    def identifier(self) -> Identifier:
        return self.address.identifier

    def __str__(self) -> str:
        return str(self.address)
