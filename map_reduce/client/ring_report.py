"""What a ring looks like from outside: who is in it, what is wrong with it, and its copies.

Asked of every node that can be reached, one after the other, so it is a picture of about now: a
ring that changes meanwhile may look less whole than it was at any moment, never more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from map_reduce.client.status import open_cluster
from map_reduce.core.chord.census import Census, census
from map_reduce.core.chord.invariants import (
    disordered_lists,
    flaws,
    not_one_ring,
    principals,
    without_live_successor,
)
from map_reduce.core.identifiers import RING_SIZE, Address, Member, distance
from map_reduce.core.messages import GetNode, Node, Place
from map_reduce.core.procedure import perform
from map_reduce.core.registers.health import RecordsHealth, records_health
from map_reduce.core.repair.health import ArcHealth, Health, health
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access
from map_reduce.server.discovery import find_cluster

FLAWS_SHOWN_MAX = 20


@dataclass(frozen=True)
class RingReport:
    """A ring at one moment.

    Attributes:
        census: every node's place as it sees it itself, in ring order.
        nodes: what else they say of themselves; a node may have gone meanwhile.
        health: of the copies, by the members that answered.
        records: likewise, of the members of records.
        wrong: the broken invariants, R1 to R5, in words; none of them is broken where it is empty.
        flaws: in what the ring is not ideal, the broken invariants aside.
    """

    cluster_id: str
    replicas: int
    census: Census
    nodes: dict[Member, Node]
    health: Health
    records: RecordsHealth
    wrong: tuple[str, ...]
    flaws: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every list and predecessor is right, and all who are named answer."""
        return not (self.wrong or self.flaws)

    def arc_share(self, member: Member) -> float:
        """Which part of the circle it owns, by the members that answered; 0 where it is none."""
        members = [arc.owner for arc in self.health.arcs]
        if member not in members:
            return 0.0
        before = members[members.index(member) - 1]
        return (distance(before.identifier, member.identifier) or RING_SIZE) / RING_SIZE

    def arc(self, member: Member) -> ArcHealth | None:
        """The blocks that it owns; None where it is no member."""
        return next((arc for arc in self.health.arcs if arc.owner == member), None)


def ring_report(address: str | None, certs: Path | None = None) -> RingReport:
    """Ask everybody, beginning with the node at ``address`` or those that are discovered.

    Raises:
        NoNodeError: none of those answers.
    """
    access = open_cluster(address, certs)
    try:
        found = find_cluster(address)
        return report_of(access, found.addresses if found is not None else ())
    finally:
        access.close()


def report_of(access: Access, start: Sequence[Address]) -> RingReport:
    """The ring that ``access`` belongs to, beginning with ``start``.

    Nodes of other clusters that listen at an old address of one of ours count as silent.
    """
    peers = access.peers.of_cluster(access.cluster_id)
    found = perform(census(start), peers.ask)
    nodes: dict[Member, Node] = {}
    problems: list[str] = []
    for place in found.places:
        try:
            nodes[place.member] = peers.request(place.member.address, GetNode(), Node)
        except ClusterError as error:
            problems.append(f"{place.member} stopped answering: {error}")
    ring = found.ring()
    wrong = [*without_live_successor(ring), *disordered_lists(ring), *not_one_ring(ring)]
    if ring and not principals(ring):
        wrong.append("R5: no member is left that no list skips")
    not_ideal = [f"{silent.member} does not answer: {silent.why}" for silent in found.silent]
    not_ideal += [f"{member} is cut off: it owns and serves nothing" for member in found.cut_off()]
    not_ideal += [] if ring else ["no node is a member of the ring"]
    not_ideal += flaws(ring, access.cluster.successors) + problems
    serving = [member for member in ring if member not in found.cut_off()]
    return RingReport(
        access.cluster_id,
        access.cluster.replicas,
        found,
        nodes,
        perform(health(serving, replicas=access.cluster.replicas), peers.ask),
        perform(records_health(serving), peers.ask),
        tuple(wrong),
        tuple(not_ideal),
    )


# ------------------------------------------------------------------ for programs


def report_json(report: RingReport) -> str:
    """``{"whole", "broken", "flaws", "members": [{"address", "successors", …}], "silent", …}``."""
    return json.dumps(
        {
            "cluster_id": report.cluster_id,
            "whole": report.whole,
            "broken": report.wrong,
            "flaws": report.flaws,
            "members": [_member(report, place) for place in report.census.places],
            "silent": [
                {"address": str(silent.member), "why": silent.why}
                for silent in report.census.silent
            ],
            "replicas": report.replicas,
            "blocks": sum(arc.blocks for arc in report.health.arcs),
            "blocks_short_of_copies": report.health.short,
            "copies_counted_exactly": all(arc.exact for arc in report.health.arcs),
            "copies_not_asked": report.health.problems,
            "records": report.records.records,
            "records_short_of_members": report.records.short,
            "records_blocked": report.records.blocked,
        },
        indent=1,
    )


def _member(report: RingReport, place: Place) -> dict[str, Any]:
    node, arc = report.nodes.get(place.member), report.arc(place.member)
    return {
        "address": str(place.member),
        "id": f"{place.member.identifier:040x}",
        "incarnation": place.member.incarnation,
        "pid": None if node is None else node.pid,
        "standing": place.standing,
        "cut_off": place.cut_off,
        "predecessor": None if place.predecessor is None else str(place.predecessor),
        "successors": [str(member) for member in place.successors],
        "suspects": [str(member) for member in place.suspects],
        "dead": [str(member) for member in place.dead],
        "arc_share": report.arc_share(place.member),
        "keys_owned": 0 if arc is None else arc.blocks,
        "keys_short_of_copies": 0 if arc is None else arc.short,
        "blocks_held": None if node is None else node.blocks,
        "bytes_held": None if node is None else node.block_bytes,
    }


# ------------------------------------------------------------------ for people


def report_text(report: RingReport) -> str:
    """A table, and what is wrong. Members are numbered in ring order, those that don't answer x1,
    x2 and so on; lists name the numbers."""
    numbers = {place.member: str(n) for n, place in enumerate(report.census.places, 1)}
    numbers |= {silent.member: f"x{n}" for n, silent in enumerate(report.census.silent, 1)}
    state = "whole" if report.whole else "NOT WHOLE"
    size = len(report.census.ring())
    lines = [f"cluster {report.cluster_id}: a ring of {size}, {state}", ""]
    lines.append(
        f"{'':>4} {'address':<22}{'id':<10}{'arc':>6}{'keys':>8}{'short':>7}"
        f"{'held':>8}{'MB':>9}  {'pred':<5}successors"
    )
    for place in report.census.places:
        lines.append(_line(report, place, numbers))
    for silent in report.census.silent:
        lines.append(f"{numbers[silent.member]:>4} {silent.member!s:<22}{silent.why}")
    lines += ["", *_copies(report), *_suspicions(report, numbers), *_verdict(report)]
    return "\n".join(lines)


def _line(report: RingReport, place: Place, numbers: dict[Member, str]) -> str:
    entry = _member(report, place)
    held = "?" if entry["blocks_held"] is None else str(entry["blocks_held"])
    megabytes = "?" if entry["bytes_held"] is None else f"{entry['bytes_held'] / 1e6:.1f}"
    before = "-" if place.predecessor is None else _number(place.predecessor, numbers)
    after = "cut off" if place.cut_off else _list(place, numbers)
    if place.standing != "member":
        after = f"is no member: {place.standing}"
    return (
        f"{numbers[place.member]:>4} {entry['address']:<22}{entry['id'][:8]:<10}"
        f"{entry['arc_share']:>6.1%}{entry['keys_owned']:>8}{entry['keys_short_of_copies']:>7}"
        f"{held:>8}{megabytes:>9}  {before:<5}{after}"
    )


def _number(member: Member, numbers: dict[Member, str]) -> str:
    return numbers.get(member, str(member))


def _list(place: Place, numbers: dict[Member, str]) -> str:
    """Numbers; three and more that follow on each other as a range."""
    if place.successors == (place.member,):
        return "alone"
    runs: list[list[str]] = []
    for member in place.successors:
        text = _number(member, numbers)
        last = runs[-1][-1] if runs else ""
        if text.isdigit() and last.isdigit() and int(text) == int(last) + 1:
            runs[-1].append(text)
        else:
            runs.append([text])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


def _copies(report: RingReport) -> list[str]:
    blocks = sum(arc.blocks for arc in report.health.arcs)
    copies = min(report.replicas, len(report.health.arcs))
    if report.health.short:
        least = "" if all(arc.exact for arc in report.health.arcs) else "at least "
        text = f"copies: {least}{report.health.short} of {blocks} blocks have fewer than {copies}"
    else:
        text = f"copies: all of {blocks} blocks have {copies}"
    lines = [text, *(f"copies: not asked: {problem}" for problem in report.health.problems)]
    records = report.records
    if records.records:
        text = f"records: {len(records.short)} of {records.records} have a member that is gone"
        if records.blocked:
            text += f"; {len(records.blocked)} have lost a majority and wait for it"
        lines.append(text)
    return lines


def _suspicions(report: RingReport, numbers: dict[Member, str]) -> list[str]:
    lines = []
    for place in report.census.places:
        for what, members in (("suspects", place.suspects), ("takes for dead", place.dead)):
            if members:
                named = " ".join(_number(member, numbers) for member in members)
                lines.append(f"detector: {numbers[place.member]} {what} {named}")
    return lines


def _verdict(report: RingReport) -> list[str]:
    held = [rule for rule in ("R1", "R2", "R3", "R5") if not _breaks(report, rule)]
    lines = [f"invariants: {' '.join(held).replace('R3', 'R3 R4')} hold"] if held else []
    lines += [f"invariants: {text}" for text in report.wrong]
    if report.whole:
        return [*lines, "the ring is ideal"]
    lines += [f"not ideal: {text}" for text in report.flaws[:FLAWS_SHOWN_MAX]]
    if (more := len(report.flaws) - FLAWS_SHOWN_MAX) > 0:
        lines.append(f"not ideal: {more} more, which --json lists")
    return lines


def _breaks(report: RingReport, rule: str) -> bool:
    return any(text.startswith(rule) for text in report.wrong)
