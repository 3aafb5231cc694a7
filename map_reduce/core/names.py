"""The names of a job's blocks.

All of a job's blocks start with its id, so they can be deleted together; what is needed only
while it runs stands under prefixes of its own. The specification's name is the id itself: its
place on the ring is the job's own, and whoever holds it looks after the job.
"""

from __future__ import annotations

import re

from map_reduce.core.messages import AttemptId

_JOB_ID = re.compile(r"[0-9a-f]{64}")
_CHECK_ID = re.compile(r"check-[0-9a-f]{64}-[0-9]{1,9}")
_BLOCK = re.compile(r"[0-9a-f]{64}(/[0-9a-z/.~-]{1,64})?")


def is_job_id(text: str) -> bool:
    """Whether a job may be called so (``core/registers/birth.py``). What is deleted with a job is
    found by its id: with any other text, "" say, that would be what is not its own."""
    return _JOB_ID.fullmatch(text) is not None


def is_check_id(text: str) -> bool:
    """Whether a check of a job's functions may be called so."""
    return _CHECK_ID.fullmatch(text) is not None


def is_block(text: str) -> bool:
    """Whether a block of a job may be called so. A store keeps names in memory, and makes names of
    files of them."""
    return _BLOCK.fullmatch(text) is not None


def check(job_id: str, number: int) -> str:
    return f"check-{job_id}-{number}"


def of_job(job_id: str) -> str:
    """The prefix of everything stored for a job: ids are of one length."""
    return job_id


def while_running(job_id: str) -> tuple[str, ...]:
    """The prefixes of what nobody needs once a job has ended."""
    return (f"{job_id}/input/", f"{job_id}/map/", f"{job_id}/functions")


def job_of(name: str) -> str:
    """The id of the job that a block belongs to."""
    return name.partition("/")[0]


def is_replicated(name: str) -> bool:
    """Whether the ring keeps copies. A map output has none: it can be made again."""
    return not name.startswith(f"{job_of(name)}/map/")


def is_only_for_running(name: str) -> bool:
    """Whether the block is deleted as soon as its job has ended."""
    return name.startswith(while_running(job_of(name)))


def is_made_by_workers(name: str) -> bool:
    """Whether nodes alone store such a block."""
    job_id = job_of(name)
    return name.startswith((f"{job_id}/map/", f"{job_id}/result/", f"{job_id}/parts/"))


def specification(job_id: str) -> str:
    return job_id


def is_specification(name: str) -> bool:
    return "/" not in name


def functions(job_id: str) -> str:
    return f"{job_id}/functions"


def input_block(job_id: str, number: int, choice: int = 0) -> str:
    """``choice``: one of the names that an input block may have (``core/chord/placement.py``)."""
    return _chosen(f"{job_id}/input/{number}", choice)


def dataset_block(job_id: str, number: int, choice: int = 0) -> str:
    """A block that outlives the job, until that is deleted: other jobs read it."""
    return _chosen(f"{job_id}/data/{number}", choice)


def map_output(attempt: AttemptId) -> str:
    return f"{attempt.job_id}/map/{_of_attempt(attempt)}"


def result(attempt: AttemptId, choice: int = 0) -> str:
    return _chosen(f"{attempt.job_id}/result/{_of_attempt(attempt)}", choice)


def result_parts(job_id: str, epoch: int) -> str:
    """The list of a large result's parts, as the master of an epoch made it."""
    return f"{job_id}/parts/{epoch}"


def _chosen(name: str, choice: int) -> str:
    return f"{name}~{choice}" if choice else name


def _of_attempt(attempt: AttemptId) -> str:
    return f"{attempt.task}.{attempt.epoch}.{attempt.number}"
