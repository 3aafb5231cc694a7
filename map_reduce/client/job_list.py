"""The jobs of a cluster, from what all its nodes say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from map_reduce.client.asking import ENDED
from map_reduce.client.report import JobReport
from map_reduce.client.status import open_cluster
from map_reduce.core.messages import Figures, GetNode, JobLine, Node
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access


@dataclass(frozen=True)
class JobInfo:
    """A job that a cluster knows.

    Attributes:
        id: for :meth:`ServerInterface.attach`.
        phase: ``waiting``, ``map``, ``reduce``, ``done``, ``failed`` or ``cancelled``; ``watched``
            where only nodes answer that are not its master.
        master: the address of the node that sees to it, "" where there is none or it is silent.
        epoch: how often it has had a master.
        waiting_for: addresses of nodes without which it can't go on.
        report: what it has cost, once it has ended and as long as its master is there.
    """

    id: str
    name: str
    phase: str
    master: str
    epoch: int
    waiting_for: tuple[str, ...] = ()
    report: JobReport | None = None


def jobs_of(access: Access) -> list[JobInfo]:
    """Ask every node; raises ClusterError where none answers."""
    lines: list[tuple[str, JobLine]] = []
    problems = []
    members = access.members()
    for member in members:
        try:
            node = access.peers.request(member.address, GetNode(), Node)
        except ClusterError as error:
            problems.append(str(error))
            continue
        lines += [(str(member.address), line) for line in (*node.jobs, *node.watched)]
    if len(problems) == len(members):
        raise ClusterError(f"no node answers: {'; '.join(problems)}")
    return best_of(lines, access.cluster.replicas)


def best_of(lines: Iterable[tuple[str, JobLine]], replicas: int = 1) -> list[JobInfo]:
    """One for each job: what its latest master says, or else whoever knows of the latest."""
    best: dict[str, tuple[tuple[int, bool], JobInfo]] = {}
    for address, line in lines:
        is_master = line.progress.phase != "watched"
        info = JobInfo(
            line.job_id,
            line.name,
            line.progress.phase,
            address if is_master else "",
            line.epoch,
            tuple(map(str, line.waiting_for)),
            _report(line, replicas),
        )
        rank = (line.epoch, is_master)
        if line.job_id not in best or rank > best[line.job_id][0]:
            best[line.job_id] = rank, info
    return [info for _, info in best.values()]


def _report(line: JobLine, replicas: int) -> JobReport | None:
    if line.progress.phase not in ENDED or line.figures == Figures():
        return None
    return JobReport.of(
        line.job_id,
        line.name,
        line.progress,
        line.figures,
        masters=line.epoch,
        replicas=replicas,
    )


def jobs_text(address: str | None, certs: str | Path | None, *, as_json: bool) -> str:
    """What ``map-reduce jobs`` prints. Raises NoNodeError, ClusterError."""
    access = open_cluster(address, certs)
    try:
        jobs = jobs_of(access)
    finally:
        access.close()
    if as_json:
        return json.dumps([asdict(job) for job in jobs], indent=1)
    lines = [f"{'job':<66}{'name':<20}{'phase':<11}master"]
    for job in jobs:
        waits = f"  waits for {', '.join(job.waiting_for)}" if job.waiting_for else ""
        lines.append(
            f"{job.id:<66}{_printable(job.name[:19]):<20}{job.phase:<11}{job.master or '-'}{waits}"
        )
    return "\n".join(lines) if jobs else "no jobs"


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor: others choose the names of their jobs."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
