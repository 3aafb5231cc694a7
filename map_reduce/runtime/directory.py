"""Which nodes there are, and how many slots each has: what a master hands work to.

Kept by one loop that looks at the ring's membership view, and asks each new member for its slots
once; in rings larger than a view it walks the successor lists. Masters are told of each change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from map_reduce.core.chord.survey import survey
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import GetNode, Node
from map_reduce.core.procedure import perform
from map_reduce.core.scheduling.events import NodeSlots
from map_reduce.errors import ClusterError
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)


class Directory:
    """The nodes of the ring, as last seen.

    Args:
        view: all members of the ring, where they are known without asking (``Ring.members``).
        slots: of this node, which is always in.
        changed: called with the new list, from the thread of :meth:`refresh`.
    """

    def __init__(
        self,
        peers: Peers,
        view: Callable[[], tuple[Member, ...] | None],
        slots: int,
        changed: Callable[[tuple[NodeSlots, ...]], None],
    ) -> None:
        self._peers = peers
        self._view = view
        self._slots = slots
        self._changed = changed
        self._lock = threading.Lock()
        self._nodes: tuple[NodeSlots, ...] = (self._me,)

    @property
    def _me(self) -> NodeSlots:
        return NodeSlots(self._peers.member, self._slots)

    @property
    def nodes(self) -> tuple[NodeSlots, ...]:
        with self._lock:
            return self._nodes

    def refresh(self) -> None:
        """Note who is there. A walk that fails changes nothing."""
        try:
            members = self._view() or perform(survey([self._me.member]), self._peers.ask)
        except ClusterError as error:
            log.info("the ring could not be walked: %s", error)
            return
        known = {node.member: node for node in self.nodes}
        known[self._me.member] = self._me
        nodes = []
        for member in members:
            node = known.get(member) or self._ask(member)
            if node is not None:
                nodes.append(node)
        if self._me not in nodes:
            nodes.append(self._me)
        new = tuple(sorted(nodes, key=lambda node: node.member))
        with self._lock:
            if new == self._nodes:
                return
            self._nodes = new
        self._changed(new)

    def _ask(self, member: Member) -> NodeSlots | None:
        try:
            node = self._peers.request(member.address, GetNode(), Node)
        except ClusterError as error:
            log.info("node %s does not tell about itself: %s", member, error)
            return None
        return NodeSlots(node.member, node.slots)
