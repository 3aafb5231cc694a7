"""Addresses whose places on the ring are in the order of their names."""

from __future__ import annotations

from itertools import count

from map_reduce.core.identifiers import RING_SIZE, Address

NAMES = "abcdefghijkl"


def in_ring_order(number: int) -> tuple[Address, ...]:
    """``a``, ``b``, …: one in each of ``number`` equal arcs, clockwise from 0."""
    return tuple(_address_in_arc(NAMES[i], i, number) for i in range(number))


def _address_in_arc(host: str, arc: int, arcs: int) -> Address:
    addresses = (Address(host, port) for port in count(1))
    return next(a for a in addresses if a.identifier * arcs // RING_SIZE == arc)
