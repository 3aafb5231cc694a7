"""Who begins a ring, where all its nodes are started alike, as containers of one service are.

Each is told the addresses of all, or a name that stands for them, and joins whoever is in a ring
already. Where nobody is, one of them has to begin one: the nodes take turns, in the order of their
addresses, ``TURN_S`` apart, and who begins is joined by the others. So after a restart of
all nodes there is one ring again, whichever of them come back.

Nothing makes certain that only one begins: their networks may be down, or a name may stand for
fewer of them than there are. Two rings with the same cluster id, given by ``MR_CLUSTER_ID``, become
one by the ring's own reunion. Records are safe meanwhile, as their members are written in them.
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from map_reduce.core.identifiers import Address
from map_reduce.errors import ClusterError, ConfigError

log = logging.getLogger(__name__)

TURN_S = 3.0
RETRY_S = 0.3
SEEDS_AT_A_TIME = 4

AUTO = "auto"
"""In place of a host: the address that this machine's own name stands for."""

Resolve = Callable[[str], Sequence[str]]


def addresses_of(host: str) -> Sequence[str]:
    """What a name stands for, in a fixed order. An address stands for itself. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(sockaddr[0]) for *_, sockaddr in found})


def own_host(host: str, resolve: Resolve = addresses_of) -> str:
    """The host to listen on: ``host`` itself, or what ``auto`` means here.

    Raises:
        ConfigError: this machine's name stands for no address that others could reach.
    """
    if host != AUTO:
        return host
    name = socket.gethostname()
    try:
        found = [a for a in resolve(name) if not Address(a, 0).is_loopback]
    except OSError as error:
        raise ConfigError(f"MR_HOST=auto: the name {name!r} has no address ({error})") from error
    if not found:
        raise ConfigError(
            f"MR_HOST=auto: the name {name!r} stands for this machine alone; name the address "
            "that the other nodes reach it by"
        )
    return found[0]


def all_behind(seeds: Sequence[Address], resolve: Resolve = addresses_of) -> list[Address]:
    """The seeds, and for each that is a name of several addresses, all of these before it.

    A name that cannot be looked up stays as it is: the others may do.
    """
    found: dict[Address, None] = {}
    for seed in seeds:
        try:
            hosts = resolve(seed.host)
        except OSError as error:
            log.info("the name %r has no address yet: %s", seed.host, error)
            hosts = ()
        found.update((Address(host, seed.port), None) for host in hosts if len(hosts) > 1)
        found[seed] = None
    return list(found)


def in_turn(addresses: Iterable[Address]) -> list[Address]:
    """Addresses by number, so that 10.0.0.10 comes after 10.0.0.9; then names."""

    def key(address: Address) -> tuple[int, int, str, int]:
        try:
            number = int(ipaddress.ip_address(address.host))
        except ValueError:
            return 1, 0, address.host, address.port
        return 0, number, "", address.port

    return sorted(set(addresses), key=key)


def join_or_found(
    me: Address,
    seeds: Sequence[Address],
    join: Callable[[Sequence[Address]], None],
    found: Callable[[], None],
    *,
    now_s: Callable[[], float] = time.monotonic,
    wait_s: Callable[[float], None] = time.sleep,
) -> None:
    """Join as soon as that works; found once it has not until it was this node's turn.

    ``join`` is given a few seeds at a time, those whose turn is first before the others: each may
    take its time not to answer.

    Raises:
        ConfigError: ``join`` found a ring that this node does not fit into.
    """
    order = in_turn([me, *seeds])
    others = [address for address in order if address != me]
    until_s = now_s() + order.index(me) * TURN_S
    for first in itertools.count(0, SEEDS_AT_A_TIME):
        start = first % max(1, len(others))
        try:
            return join(others[start : start + SEEDS_AT_A_TIME])
        except ClusterError as error:
            log.info("no ring yet: %s", error)
        if now_s() >= until_s:
            log.info("no other node is in a ring, so this one begins it")
            return found()
        wait_s(min(RETRY_S, max(0.0, until_s - now_s())))
    return None
