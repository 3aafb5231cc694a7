"""What a client holds of a cluster: a way to ask its nodes, its blocks, and its settings.

The cluster is either elsewhere (:func:`connect`) or a ring of one inside this very process
(:func:`map_reduce.server.embedded.embed`): the same node over a transport without sockets.
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from map_reduce._version import PYTHON
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.survey import survey
from map_reduce.core.identifiers import Address, Identifier, Member, distance
from map_reduce.core.messages import Cluster, GetCluster, Ping, Pong
from map_reduce.core.procedure import perform
from map_reduce.errors import ClusterError, ConfigError, NoNodeError
from map_reduce.ports import Transport
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.records import Records
from map_reduce.runtime.threads import MonotonicClock
from map_reduce.server.configs import ClusterConfig
from map_reduce.server.node import Node
from map_reduce.transport.resolver import is_ip_address

CONNECT_TIMEOUT_S = 3.0


class Hearing:
    """What a waiting thread has of changes: it listens, asks, and pauses before it asks again.

    Where nobody in this process tells of them, the node that is asked holds its answer until there
    is something new, as long as it may and has room for that.

    Args:
        event: set at each change.
        told: whether anybody ever sets it.
    """

    def __init__(self, event: threading.Event, *, told: bool) -> None:
        self._event = event
        self._told = told
        self._held_by_s = math.inf  # what is answered later than that was held for all its time

    def listen(self, hold_s_max: float) -> float:
        """From now on a change ends the next pause. To be called before asking; for how long the
        node that is asked may hold its answer."""
        self._event.clear()
        hold_s = 0.0 if self._told else max(0.0, hold_s_max)
        self._held_by_s = time.monotonic() + hold_s if hold_s else math.inf
        return hold_s

    @property
    def was_held(self) -> bool:
        """Whether the answer was waited for as long as it might be held, so that it is worth asking
        again at once."""
        return time.monotonic() >= self._held_by_s

    def pause(self, pause_s: float, pause_s_max: float) -> None:
        """Until it is worth asking again: after ``pause_s`` where nobody tells of changes; else at
        the next one, or after ``pause_s_max``."""
        if not self.was_held:
            self._event.wait(pause_s_max if self._told else pause_s)


class Access:
    """A cluster, seen from a client. Safe to use from many threads.

    Args:
        entries: addresses to start lookups from.
        node: of this process, whose view of blocks and records is better than a client's own.
    """

    def __init__(
        self,
        *,
        peers: Peers,
        entries: Sequence[Address],
        cluster: ClusterConfig,
        cluster_id: str,
        closers: Sequence[Callable[[], None]],
        node: Node | None = None,
    ) -> None:
        self.peers = peers
        self.cluster_id = cluster_id
        self.cluster = cluster
        self._entries = tuple(entries)
        self.last_members: tuple[Member, ...] = ()
        self._closers = ExitStack()  # runs them all, even if one fails, and only once
        for closer in closers:
            self._closers.callback(closer)
        if node is not None:
            self.blocks, self.records = node.blocks, node.records
        else:
            self.blocks = RingBlocks(peers, self.locate, replicas=cluster.replicas)
            self.records = self._client_records()
            self._closers.callback(self.records.close)
        self._closers.callback(self.blocks.close)
        self._node = node
        self._owner_pid = os.getpid()
        self._closed = False

    def _client_records(self) -> Records:
        import secrets  # late: OpenSSL comes with it, and an embedded node needs none

        incarnation = secrets.randbits(63)  # what a node's clock is for: never used before
        return Records(
            peers=self.peers,
            clock=MonotonicClock(),
            me=Member(Address("a client", 0), incarnation),
            locate=self.locate,
            members_max=self.cluster.replicas,
            timeout_s=self.cluster.request_timeout_s,
            dice=random.Random(),
        )

    def locate(self, target: Identifier) -> tuple[Member, ...]:
        """The owner of a place on the ring, and its successors. Raises Unreachable.

        Of the nodes that are known, the one that would own it is asked first: where all are known,
        as after :meth:`members`, that is one request.
        """
        likeliest = sorted(self._entries, key=lambda entry: distance(target, entry.identifier))
        return perform(lookup(target, likeliest), self.peers.ask)

    def members(self) -> tuple[Member, ...]:
        """All members, in ring order; from now on any of them is a way in. Raises Unreachable."""
        members = perform(survey(self._entries), self.peers.ask)
        self._entries = tuple(member.address for member in members)
        self.last_members = members
        return members

    def expect_work(self) -> None:
        """The job that is being submitted is work for every slot: a node in this process starts its
        worker processes while the input is cut."""
        if self._node is not None:
            self._node.expect_work()

    @contextmanager
    def hearing(self, name: str) -> Iterator[Hearing]:
        """Hear of changes of a job, or a check: from the node in this process, or else from the
        nodes that are asked."""
        if self._node is None:
            yield Hearing(threading.Event(), told=False)
        else:
            with self._node.changes.hearing(name) as event:
                yield Hearing(event, told=True)

    @property
    def is_open(self) -> bool:
        return not self._closed and os.getpid() == self._owner_pid

    def check_usable(self) -> None:
        """Raises ClusterError: it was closed, or this is a fork of the process that made it."""
        if os.getpid() != self._owner_pid:
            raise ClusterError(
                f"this connection to a cluster belongs to process {self._owner_pid}, of which "
                "this one is a fork; make a ServerInterface of its own here"
            )
        if self._closed:
            raise ClusterError("this ServerInterface was closed; make a new one")

    def close(self) -> None:
        """Harmless when repeated; in a fork of the process that made it, nothing is done."""
        if os.getpid() == self._owner_pid:
            self._closed = True
            self._closers.close()


def connect(addresses: Sequence[Address], transport: Transport) -> Access:
    """Be a client of the cluster behind the first of ``addresses`` that answers.

    Raises:
        NoNodeError: none does, within 3 seconds; names them and what went wrong.
        ConfigError: the cluster runs another Python version than this process.
    """
    defaults = ClusterConfig()
    peers = Peers(transport, timeout_s=defaults.request_timeout_s)
    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    problems = []
    for number, address in enumerate(addresses):
        share_s = (deadline_s - time.monotonic()) / (len(addresses) - number)
        try:
            about = peers.request(address, GetCluster(), Cluster, timeout_s=max(0.05, share_s))
        except ClusterError as error:
            problems.append(str(error))
            continue
        if about.python != PYTHON:
            raise ConfigError(
                f"the cluster at {address} runs Python {about.python}, this is Python {PYTHON}; "
                "functions travel between equal minor versions only"
            )
        return Access(
            peers=peers,
            entries=[_known_as(peers, address)],
            cluster=_settings_of(about),
            cluster_id=about.cluster_id,
            closers=[transport.close],
        )
    raise NoNodeError(
        f"no node answers at {' or '.join(map(str, addresses))} ({'; '.join(problems)}); "
        "start one there, or name another address"
    )


def _known_as(peers: Peers, address: Address) -> Address:
    """The address that the ring knows a node by; a client may have named it otherwise. Where the
    node does not say so in time, the one that it was named by has to do."""
    if is_ip_address(address.host):
        return address
    try:
        return peers.request(address, Ping(), Pong).member.address
    except ClusterError:
        return address


def _settings_of(about: Cluster) -> ClusterConfig:
    """The cluster's own settings; those that this version does not know are left out."""
    known = {field.name for field in dataclasses.fields(ClusterConfig)}
    settings: dict[str, Any] = {n: v for n, v in about.settings.items() if n in known}
    return ClusterConfig(**settings)
