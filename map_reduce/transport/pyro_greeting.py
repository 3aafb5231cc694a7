"""What the two ends of a connection say first.

A node has two daemons. The one for control, at the node's address, is greeted with PROTOCOL and
answers where the other one is; that one, for bulk data, has a port of its own and is greeted with
the token that the first gave out. So whoever sends or asks for pieces of blocks cannot land at
another node that was given the port after a restart.

    caller                         control daemon            bulk daemon
      ── "map-reduce/1" ──────────────▶
      ◀─ "map-reduce/1 bulk 4711 7f3a…" ─
      ── "7f3a…" ──────────────────────────────────────────────▶
      ◀─ "map-reduce/1" ─────────────────────────────────────────
"""

from __future__ import annotations

from typing import NamedTuple

from map_reduce.core.identifiers import Address
from map_reduce.errors import ProtocolError

PROTOCOL = "map-reduce/1"
"""What a control connection is greeted with; the number changes with what is understood."""


class BulkPlane(NamedTuple):
    """Where a node's bulk daemon is, as its control daemon says on greeting."""

    port: int
    token: str

    def __str__(self) -> str:
        return f"{PROTOCOL} bulk {self.port} {self.token}"

    def at(self, peer: Address) -> Address:
        """The bulk daemon's address, given the control daemon's."""
        return Address(peer.host, self.port)

    @classmethod
    def parse(cls, text: object) -> BulkPlane:
        """Raises ProtocolError: the text is not what a control daemon answers."""
        words = text.split(" ") if isinstance(text, str) else []
        if len(words) != 4 or words[:2] != [PROTOCOL, "bulk"] or not words[2].isdigit():
            raise ProtocolError(f"not the greeting of a node of this version: {text!r}")
        return cls(int(words[2]), words[3])
