"""From functions and data to a submitted job.

    functions ──pickle──▶ inline or block ┐
    items ──chunks──▶ inline or blocks    ├─▶ JobSpec ──block──▶ SubmitJob to the owner of its id
    files ──plan──▶ byte ranges or blocks ┘

The job's id is the hash of a *birth certificate*: a digest of the functions, a nonce, and the
replicas that decide about the job's records. With the specification, which lies at the place of
the id on the ring, the job is submitted: every node that holds it sees to it that the job is run.
SubmitJob merely tells the owner not to wait. The submission ends when the job's record was written
(``acceptance.py``). Where that has become impossible, since the replicas that the certificate names
are gone, the job is born anew, and what was stored for it is stored once more under its new id.

What is small travels inside the specification. Files are read where they lie by every node that
sees the very same ones; where some node does not, their text is stored in the ring. Before
anything big is stored, a node unpickles the functions once, since that is where most first jobs
fail. If anything goes wrong half way, what was stored is deleted again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from map_reduce._version import PYTHON
from map_reduce.client.acceptance import await_acceptance
from map_reduce.client.asking import JobSource
from map_reduce.client.cutting import INLINE_BYTES_MAX, Cut, Cutter
from map_reduce.client.failures import error_of
from map_reduce.client.inputs import FileInput, ItemInput, Source
from map_reduce.client.picking import picking
from map_reduce.client.sample import SampleInput
from map_reduce.client.shipping import pickle_functions
from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES, Placement
from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Member, distance, identifier_of
from map_reduce.core.messages import (
    HOLD_S_MAX,
    SPEC_BYTES_MAX,
    BlockItems,
    BlockRef,
    CheckFunctions,
    CheckVerdict,
    Done,
    Functions,
    GetCheck,
    InlineItems,
    JobSpec,
    ReleaseJob,
    Sampled,
    SampleWork,
    Split,
    SubmitJob,
    TaskRules,
    block_of,
)
from map_reduce.core.registers.birth import Birth
from map_reduce.core.scheduling.plan import partitions_for
from map_reduce.errors import (
    BadKeyError,
    ClusterError,
    FunctionError,
    InputError,
    NoNodeError,
    Unreachable,
    UserCodeError,
    WorkerDiedError,
)
from map_reduce.job import Job, Options
from map_reduce.server.access import Access, Hearing

log = logging.getLogger(__name__)

NONCE_BYTES = 16
CHECK_S_MAX = 40.0
CHECK_POLL_S_MIN, CHECK_POLL_S_MAX = 0.001, 0.01
CHECK_RETRY_S = 0.5
WORKERS_DIED_MAX = 2
BIRTHS_MAX = 5
"""So often a job is submitted, each time with other members of its record."""


class Submitted(NamedTuple):
    """A job and the node that is to be asked for it first, if one has taken it."""

    job_id: str
    master: Member | None


def submit(
    access: Access,
    job: Job,
    sources: Sequence[Source | SampleInput],
    slots: int,
    loads: Mapping[Member, float] | None = None,
) -> Submitted:
    """Submit a job.

    Args:
        sources: its inputs, mapped one after another.
        slots: worker processes in the cluster, which the size of splits goes by.
        loads: the nodes, and how many bytes each owns, as far as that is known; blocks of the
            input are placed by it.

    Raises:
        UserCodeError, InputError: the functions or the data can't be used; nothing has run.
        ClusterError: the cluster can't be reached or did not take it.
    """
    access.check_usable()
    submission = _Submission(access, job, slots, loads or {})
    with submission.undone_on_failure():
        return submission.submit(sources)


def store(
    access: Access,
    job: Job,
    source: ItemInput | FileInput,
    slots: int,
    loads: Mapping[Member, float] | None = None,
) -> tuple[Submitted, tuple[Split, ...]]:
    """Store an input for other jobs to read, as long as a job that has none of its own is kept.

    Raises as :func:`submit`.
    """
    access.check_usable()
    submission = _Submission(access, job, slots, loads or {})
    with submission.undone_on_failure():
        return submission.store(source)


class _Submission:
    def __init__(self, access: Access, job: Job, slots: int, loads: Mapping[Member, float]) -> None:
        self._access = access
        self._job = job
        self._slots = slots
        self._pickled = pickle_functions(job)
        self._birth = self._give_birth(access.last_members or access.members())
        self._id = self._birth.name
        self._blocks = itertools.count()
        self._checks = itertools.count()
        self._placement = Placement(loads, loads)
        self._stored = False
        self._lasting: tuple[Split, ...] = ()

    def _give_birth(self, nodes: Sequence[Member]) -> Birth:
        """Draw the first members of the job's record from all nodes: a lookup's answer may know
        fewer than there are."""
        nonce = os.urandom(NONCE_BYTES)
        place = identifier_of(nonce.hex())
        line = sorted(nodes, key=lambda node: distance(place, node.identifier))
        members = self._access.records.choose_odd_members(line)
        return Birth(digest_of(self._pickled), nonce, members)

    def submit(self, sources: Sequence[Source | SampleInput]) -> Submitted:
        functions = self._functions()
        pick: Callable[[], tuple[Split, ...]] | None = None
        if self._job.sort:
            sources, pick = picking(sources)
        cutter = Cutter(self._access, self._slots, self._put_input, lambda: self._check(functions))
        return self._submit(functions, cutter.cut(sources), pick)

    def store(self, source: ItemInput | FileInput) -> tuple[Submitted, tuple[Split, ...]]:
        """What is stored is no input of the job that it is stored for."""
        cutter = Cutter(self._access, self._slots, self._put_lasting, lambda: None)
        self._lasting = cutter.store(source)
        submitted = self._submit(self._functions(), Cut((), (), 0))
        return submitted, self._lasting

    def _submit(
        self,
        functions: Functions,
        cut: Cut,
        pick: Callable[[], tuple[Split, ...]] | None = None,
    ) -> Submitted:
        splits, readers, input_bytes = cut
        partitions = partitions_for(len(splits), self._slots, input_bytes)
        bounds = b""
        if pick is not None and partitions > 1:
            sampled = self._sample(functions, pick(), partitions)
            partitions, bounds = sampled.bounds + 1, sampled.pickled
        spec = JobSpec(
            job_id=self._id,
            birth=self._birth.encode(),
            name=self._job.name,
            functions=functions,
            combines=self._job.combine is not None,
            splits=splits,
            partitions=partitions,
            readers=tuple(member.address for member in readers),
            input_bytes=input_bytes,
            python=PYTHON,
            submitted_at_s=time.time(),
            rules=_rules(self._job.options),
            bounds=bounds,
        )
        for birth in range(BIRTHS_MAX):
            if birth:
                spec = self._born_anew(spec)
            data = spec.encode()
            if len(data) > SPEC_BYTES_MAX:
                raise InputError(
                    f"the job's input is {len(splits)} splits, whose list takes {len(data)} bytes; "
                    f"a job may have {SPEC_BYTES_MAX}: give fewer, longer files, or several jobs"
                )
            ref = self._access.blocks.put(names.specification(self._id), data)
            self._stored = True
            owner = self._tell_owner(ref)
            if await_acceptance(self._access, self._birth, owner):
                return Submitted(self._id, owner)
        raise ClusterError(
            f"the job was submitted {BIRTHS_MAX} times, and each time most nodes that were to keep "
            "its record were gone before it began; submit it again when the cluster is at rest"
        )

    def _born_anew(self, spec: JobSpec) -> JobSpec:
        """The same job with another certificate, and all that was stored of it so far."""
        old = self._id
        try:
            self._access.records.forget_replicas()
            self._birth = self._give_birth(self._access.members())
            self._id = self._birth.name
            self._blocks = itertools.count()
            log.warning("job %s is submitted anew, as job %s", old, self._id)
            self._lasting = self._stored_anew(self._lasting, old, self._put_lasting)
            return msgspec.structs.replace(
                spec,
                job_id=self._id,
                birth=self._birth.encode(),
                functions=self._functions(),
                splits=self._stored_anew(spec.splits, old, self._put_input),
            )
        finally:
            self._release(old)

    def _stored_anew(
        self, splits: tuple[Split, ...], old: str, put: Callable[[bytes], BlockRef]
    ) -> tuple[Split, ...]:
        """The splits, with those that lie in blocks of the job ``old`` in blocks of this one."""
        moved = []
        for split in splits:
            block = block_of(split)
            if block is not None and names.job_of(block.name) == old:
                split = msgspec.structs.replace(split, ref=put(self._access.blocks.get(block)))
            moved.append(split)
        return tuple(moved)

    def _put_input(self, data: bytes) -> BlockRef:
        return self._put(data, names.input_block)

    def _put_lasting(self, data: bytes) -> BlockRef:
        return self._put(data, names.dataset_block)

    def _put(self, data: bytes, name_of: Callable[[str, int, int], str]) -> BlockRef:
        self._stored = True
        number = next(self._blocks)
        choices = [name_of(self._id, number, choice) for choice in range(CHOICES)]
        return self._access.blocks.put(self._placement.choose(choices, len(data)), data)

    def _tell_owner(self, ref: BlockRef) -> Member | None:
        """Who has taken the job now. It is submitted in any case."""
        try:
            owner = self._access.locate(identifier_of(self._id))[0]
            self._access.peers.request(owner.address, SubmitJob(self._id, ref), Done)
        except ClusterError as error:
            log.info("job %s is left to those who hold it: %s", self._id, error)
            return None
        return owner

    @contextlib.contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Delete what was stored in vain."""
        try:
            yield
        except BaseException:  # Ctrl-C and whatever the user's iterator raises, too
            if self._stored:
                self._release(self._id)
            raise

    def _release(self, job_id: str) -> None:
        # Who can't be reached now has nothing to gain from this; its own clean-up comes later.
        with contextlib.suppress(ClusterError):
            JobSource(self._access, job_id, None).tell(ReleaseJob(job_id))

    # ------------------------------------------------------------------ functions

    def _functions(self) -> Functions:
        pickled = self._pickled
        digest = self._birth.about
        if len(pickled) <= INLINE_BYTES_MAX:
            return Functions(pickled, None, digest)
        self._stored = True
        ref = self._access.blocks.put(names.functions(self._id), pickled)
        return Functions(b"", ref, digest)

    def _sample(self, functions: Functions, picked: tuple[Split, ...], ranges: int) -> Sampled:
        """Have a node map some records, and say where to cut what they give into ranges of keys.

        Raises:
            BadKeyError: the keys have no order.
            FunctionError: the functions do not unpickle.
        """
        bytes_max = INLINE_BYTES_MAX // max(1, len(picked))
        splits = tuple(self._stored_if_large(split, bytes_max) for split in picked)
        try:
            sampled = self._check(functions, SampleWork(splits, ranges))
        except (BadKeyError, FunctionError):
            raise
        except (UserCodeError, ClusterError) as error:
            log.warning(
                "a sample of the input could not be mapped, so job %s sorts in one task: %s",
                *(self._id, error),
            )
            sampled = None
        return sampled or Sampled(b"", 0)

    def _stored_if_large(self, split: Split, bytes_max: int) -> Split:
        if not isinstance(split, InlineItems) or len(split.data) <= bytes_max:
            return split
        ref = self._put_input(split.data)
        return BlockItems(ref, split.count, split.first_index, split.keyed)

    def _check(self, functions: Functions, sample: SampleWork | None = None) -> Sampled | None:
        """Have a node unpickle the functions, and map the sample: the next one where one dies over
        it.

        Raises:
            FunctionError: with what it said.
            WorkerDiedError: they ended two worker processes; one may have died for other reasons.
            ClusterError: nobody has unpickled them within 40 seconds, or all refused.
        """
        deadline_s = time.monotonic() + CHECK_S_MAX
        pause = threading.Event()
        workers_died = 0
        while True:
            problems: list[ClusterError] = []
            for member in self._access.locate(identifier_of(self._id)):
                try:
                    return self._check_on(member, functions, sample, deadline_s)
                except WorkerDiedError:
                    workers_died += 1
                    if workers_died == WORKERS_DIED_MAX:
                        raise
                except ClusterError as error:
                    log.info("%s did not check the functions: %s", member, error)
                    problems.append(error)
            if not problems:
                continue  # a ring of one, whose worker died: once more
            passing = any(isinstance(problem, Unreachable) for problem in problems)
            if not passing or time.monotonic() >= deadline_s:
                raise problems[-1]
            pause.wait(CHECK_RETRY_S)

    def _check_on(
        self, member: Member, functions: Functions, sample: SampleWork | None, deadline_s: float
    ) -> Sampled | None:
        check_id = names.check(self._id, next(self._checks))
        message = CheckFunctions(check_id, functions, sample)
        self._access.peers.request(member.address, message, Done)
        with self._access.hearing(check_id) as hearing:
            verdict = self._verdict(member, check_id, hearing, deadline_s)
        if verdict.failure is not None:
            raise error_of(verdict.failure)
        return verdict.sampled

    def _verdict(
        self, member: Member, check_id: str, hearing: Hearing, deadline_s: float
    ) -> CheckVerdict:
        pause_s = CHECK_POLL_S_MIN
        while (left_s := deadline_s - time.monotonic()) > 0:
            message = GetCheck(check_id, hearing.listen(min(left_s, HOLD_S_MAX)))
            verdict = self._access.peers.request(member.address, message, CheckVerdict)
            if verdict.ready:
                return verdict
            hearing.pause(pause_s, max(0.0, deadline_s - time.monotonic()))
            pause_s = min(2 * pause_s, CHECK_POLL_S_MAX)
        raise NoNodeError(f"node {member} did not get to unpickling the functions in time")


def _rules(options: Options) -> TaskRules:
    skip = options.skip
    return TaskRules(
        skips=skip is not None,
        skips_max=-1 if skip is None or skip.up_to is None else skip.up_to,
        skips_share_max=0.0 if skip is None or skip.share is None else float(skip.share),
        timeout_s=float(options.timeout_s or 0.0),
        memory_mb_max=options.memory_mb_max or 0,
        backups=options.backups,
        priority=float(options.priority),
        result_ttl_s=float(options.result_ttl_s or 0.0),
    )
