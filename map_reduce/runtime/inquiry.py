"""Asking the nodes at a job's place on the ring who sees to it."""

from __future__ import annotations

from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import identifier_of
from map_reduce.core.messages import Busy, GetJob, JobOver, JobStatus, NoJob
from map_reduce.errors import ClusterError
from map_reduce.runtime.blocks import Locate
from map_reduce.runtime.peers import Peers

NO_PARTS = 1 << 40
"""As a first part: of the result, nothing is wanted."""

ENDED = ("done", "failed", "cancelled")


def inquire(peers: Peers, locate: Locate, replicas: int, job_id: str) -> JobStatus | JobOver | None:
    """What they say of the latest master; None where none of them knows the job."""
    found: JobStatus | None = None
    try:
        group = replica_group(locate(identifier_of(job_id)), replicas)
    except ClusterError:
        return None
    for member in group:
        try:
            reply = peers.request(member.address, GetJob(job_id, NO_PARTS), JobStatus, Busy, NoJob)
        except ClusterError:
            continue
        if isinstance(reply, JobStatus):
            if reply.progress.phase in ENDED:
                return JobOver(job_id)
            if found is None or reply.epoch > found.epoch:
                found = reply
    return found
