"""A job in a client's hand."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from map_reduce.client.asking import ENDED, JobSource
from map_reduce.client.failures import error_of
from map_reduce.client.inputs import InRing, ItemInput, RingInput, Source
from map_reduce.client.progress import Bar, JobProgress, TimeSeen
from map_reduce.client.report import JobReport
from map_reduce.client.results import Pairs, dict_of, form_of, pieces_of, splits_of
from map_reduce.client.submission import Submitted
from map_reduce.core.messages import (
    HOLD_S_MAX,
    CancelJob,
    JobStatus,
    OutputPart,
    ReleaseJob,
)
from map_reduce.errors import (
    ClusterError,
    ConfigError,
    JobError,
    JobLostError,
    JobTimeoutError,
    UserCodeError,
)
from map_reduce.server.access import Access

if TYPE_CHECKING:
    from map_reduce.client.explain import Explanation

log = logging.getLogger(__name__)

SILENCE_S_MAX = 15.0
"""How long there may be nobody who answers, or knows the job, before it is given up. A job whose
master died is known to others all the time."""

POLL_S_MIN, POLL_S_MAX, POLL_SHARE = 0.001, 0.2, 0.05
"""Where no node tells when the job has ended, the pause between two questions is a share of the
time waited so far, within bounds: so a short job is not kept waiting, and a long one not asked for
without end. A progress bar is made anew every ``POLL_S_MAX``."""


StatusOrNone = TypeVar("StatusOrNone", JobStatus, JobStatus | None)


class Skipped(NamedTuple):
    """A record or key that was left out."""

    where: str
    """"line 17 of /data/a.txt", "item 3", "key 'x'"."""
    record: str
    """Its repr, cut to 200 characters; "" for keys, and where it is not known."""
    error: str
    """What it failed with, cut to 500 characters."""


class JobHandle(InRing):
    """A submitted job. Always true, so that ``if server.startup(...)`` reads well.

    It may be the input of another job: ``server.startup(job, map, reduce)``.
    """

    def __init__(
        self,
        access: Access,
        submitted: Submitted,
        name: str,
        *,
        show_progress: bool | None,
        keeper: object = None,
        began_s: float | None = None,
        combines: bool | None = None,
        reads: Sequence[InRing] = (),
    ) -> None:
        """``keeper`` is kept alive for as long as the handle is: who else would end the node?
        ``began_s`` is when this client began to submit it, and ``combines`` whether it has a
        combiner; None: somebody else did, nobody knows. What it ``reads`` is held, and let go once
        it has ended."""
        super().__init__()
        self.id = submitted.job_id
        self.name = name
        self._access = access
        self._source = JobSource(access, submitted.job_id, submitted.master)
        self._keeper = keeper
        self._show_progress = show_progress
        self._one_waiter = threading.Lock()  # of this handle alone: a second result() waits
        self._ended: JobStatus | None = None
        self._time = TimeSeen(began_s)
        self._combines = combines
        self._told = False
        self._reads = list(reads)
        self._results: dict[Any, Any] | None = None
        self._released = False

    def __repr__(self) -> str:
        return f"<JobHandle {self.name} {self.id}>"

    @property
    def state(self) -> str:
        """``waiting``, ``map``, ``reduce``, ``done``, ``failed`` or ``cancelled``.

        Raises:
            JobLostError: no node knows the job any more.
            ClusterError: nobody who knows it answers right now.
        """
        return self.progress.phase

    @property
    def master(self) -> str | None:
        """The address of the node that sees to the job now; None while there is none, or where
        the job has ended and that node is gone. Raises as :attr:`state`."""
        master = self._ask().master
        return None if master is None else str(master)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Addresses of nodes without which the job can't go on: too few of those that keep its
        record answer. It goes on when they are back. Raises as :attr:`state`."""
        return tuple(map(str, self._ask().waiting_for))

    @property
    def progress(self) -> JobProgress:
        """How far it is. Raises as :attr:`state`."""
        return JobProgress.of(self._ask().progress)

    @property
    def counters(self) -> dict[str, int]:
        """What user code has counted by :func:`map_reduce.counter`, by name.

        Exact once the job has ended. Before that it is of the tasks that are done so far, and
        may go back where one has to run again. Raises as :attr:`state`.
        """
        return dict(self._ask(tally=True).tally.counters)

    @property
    def skipped(self) -> list[Skipped]:
        """The records and keys that were left out, as ``on_bad_record`` allows: the first 100.

        Of the tasks that are done so far; all of them once the job has ended. How many there
        are in all, :attr:`skipped_total` says. Raises as :attr:`state`.
        """
        told = self._ask(tally=True).tally.skipped
        return [Skipped(bad.where, bad.record, bad.error) for bad in told]

    @property
    def skipped_total(self) -> int:
        """How many records and keys were left out. Raises as :attr:`state`."""
        tally = self._ask(tally=True).tally
        return tally.records_skipped + tally.keys_skipped

    @property
    def report(self) -> JobReport:
        """What the job has cost, so far or in all. Raises as :attr:`state`."""
        status = self._ask(tally=True)
        return JobReport.of(
            self.id,
            self.name,
            status.progress,
            status.figures,
            masters=status.epoch,
            replicas=self._access.cluster.replicas,
            time_s=self._time.until_end_s(status.progress),
        )

    def explain(self) -> Explanation:
        """How the job was cut, what it moved and how evenly, so far or in all.

        ``print`` it. It is of the tasks whose outputs count, so a master that has taken over knows
        as much. What a job would do, :meth:`ServerInterface.explain` estimates before it runs.
        Raises as :attr:`state`.
        """
        from map_reduce.client.explain import measured

        status = self._ask(tally=True)
        return measured(status.figures, status.progress.phase, combines=self._combines)

    def result(self, timeout_s: float | None = None) -> dict[Any, Any]:
        """Wait for the end, and return {key: what reduce returned for it}.

        The order of keys is not specified, unless the job sorts. Fetched once; the same dict is
        returned again.

        Raises:
            UserCodeError, InputError: what your functions or input did; a failure in your code
                can also be caught as its own type, as in ``except ZeroDivisionError``.
            JobCancelledError: it was cancelled.
            JobError: the results are text, as ``save_as`` says; :meth:`save` fetches them.
            JobTimeoutError: it takes longer than ``timeout_s`` seconds; it goes on.
            JobLostError: for 15 seconds nobody answers, or nobody knows the job any more. That a
                node died is no reason: another goes on with the job.
        """
        with self._waiting(timeout_s) as start_s:
            if self._results is None:
                status = self._of_pairs(self._successful(start_s, timeout_s))
                self._results = self._fetch(status)
                self.release()
                self._tell()
            return self._results

    def stream(self, timeout_s: float | None = None) -> Iterator[tuple[Any, Any]]:
        """Wait for the end, and give (key, what reduce returned for it) one after another.

        For results that are too many to be held at a time: some thousands are, and the results of
        one task as a file. Keys come in the order of :meth:`result`. Once the last one was given,
        the job is released; a stream that was left before can begin again.

        Raises:
            JobError: the results are released, as after another stream or :meth:`save`; or text, as
                ``save_as`` says.
            Others, as :meth:`result` does: before the first result or between any two of them.
        """
        status = self._of_pairs(self._unreleased(timeout_s))
        return (pair for part in self._each_part(status) for pairs in part for pair in pairs)

    def save(
        self,
        folder: str | os.PathLike[str],
        format: str = "",
        timeout_s: float | None = None,
    ) -> list[Path]:
        """Wait for the end, and write the results into files ``part-00000…`` of a folder.

        A file holds what one task has made, keys in its order. Only once all of them are complete
        do they get their names, and is the job released; else nothing of them is left. Where the
        job was started with ``save_as``, its tasks have written the files, and they are fetched.

        Args:
            folder: made if missing; empty otherwise.
            format: "jsonl", the default, a ``[key, value]`` for each line, tuples as lists; "text",
                ``key<TAB>value`` by ``str``; "csv", where a tuple or list is several columns;
                "lines", each value a line, or a list of lines, without keys; "pickle", lists of
                (key, value) pairs, one after another until the file ends.

        Returns:
            The files, in order.

        Raises:
            OutputError: the folder is not empty, the disk is full, or a result cannot be written
                in that format; names it.
            ConfigError: there is no such format, or the files are in another already.
            Others, as :meth:`stream` does.
        """
        from map_reduce.client.saving import made_folder, save, save_written
        from map_reduce.formats import check_format

        if format:
            check_format(format)
        path = made_folder(folder)
        status = self._unreleased(timeout_s)
        form = "" if status is None else form_of(status)
        if status is None or not form:
            return save(self._each_part(status), path, format or "jsonl")
        if format not in ("", form):
            raise ConfigError(
                f"the tasks of job {self.id} have written its results as {form}, as its save_as "
                f"says, so that they cannot be saved as {format}"
            )
        return save_written(self._released_after(status), path, form, self._access)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the end, and leave the results where they are. Raises as :meth:`result`."""
        with self._waiting(timeout_s) as start_s:
            if self._results is None:
                self._successful(start_s, timeout_s)

    def cancel(self) -> None:
        """Stop it. A job that has ended stays as it is. Raises ClusterError."""
        if self._ended is None:
            self._access.check_usable()
            self._source.tell(CancelJob(self.id))

    def release(self) -> None:
        """Let the cluster forget the job and delete its data, results included.

        Done by :meth:`result` once they are fetched. A running job is cancelled. Where another job
        of this client reads the results, this happens when that one has ended.
        """
        super().release()

    # ------------------------------------------------------------------ as an input

    def as_source(self) -> Source:
        """Its results, for ``startup``: where they are, or sent again if they were fetched.

        Raises as :meth:`result`, and JobError: they were released without being fetched.
        """
        with self._waiting(None) as start_s:
            if self._results is not None:
                return ItemInput(self._results.items(), keyed=True, length=len(self._results))
            status = self._successful(start_s, None)
            if self._released:
                raise JobError(f"the results of job {self.id} were released; start it again")
            self._of_pairs(status)
            return RingInput(splits_of(self._all_parts(status)))

    # ------------------------------------------------------------------ inside

    def _delete(self) -> None:
        self._let_go_of_inputs()
        if not self._released:
            self._released = True
            # Best effort: what is not released now is, after its time to live.
            with contextlib.suppress(ClusterError):
                self._access.check_usable()
                self._source.tell(ReleaseJob(self.id))

    def _let_go_of_inputs(self) -> None:
        while self._reads:
            with contextlib.suppress(IndexError):  # another thread does the same
                self._reads.pop().let_go()

    def _ask(self, first_part: int = 0, *, tally: bool = False, hold_s: float = 0.0) -> JobStatus:
        """How the job is, or where it has not ended, will be up to ``hold_s`` later. Of one that
        has ended, the first parts are asked for once."""
        if self._ended is not None and not first_part:
            return self._ended
        if self._released:
            raise JobError(f"job {self.id} was released before its end")
        try:
            self._access.check_usable()
        except ClusterError as error:
            raise JobLostError(f"job {self.id} cannot be followed: {error}") from error
        reply = self._source.status(first_part, tally, hold_s=hold_s)
        ended = reply.progress.phase in ENDED
        self._time.saw(ended, self._source.asked_s, time.monotonic())
        if ended and not first_part:
            self._ended = reply
            self._let_go_of_inputs()
        return reply

    def _tell(self) -> None:
        """The closing line: once, where there was a bar, or else in the log."""
        if self._told:
            return
        self._told = True
        report = self.report
        if Bar(self.name, self._show_progress).is_due(report.time_s):
            print(f"map-reduce: {report}", file=sys.stderr)
        else:
            log.info("job %s: %s", self.id, report)

    @contextlib.contextmanager
    def _waiting(self, timeout_s: float | None) -> Iterator[float]:
        """One at a time; gives the time at which it began to wait."""
        start_s = time.monotonic()
        if not self._one_waiter.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
            raise self._out_of_time(timeout_s)
        try:
            yield start_s
        finally:
            self._one_waiter.release()

    def _successful(self, start_s: float, timeout_s: float | None) -> JobStatus:
        """The status at the end. Of a job that failed, nothing is kept."""
        status = self._wait(start_s, timeout_s)
        if status.failure is not None:
            self.release()
            self._tell()
            raise error_of(status.failure)
        return status

    def _out_of_time(self, timeout_s: float | None) -> JobTimeoutError:
        return JobTimeoutError(f"job {self.id} has not ended within {timeout_s:g} s; it goes on")

    def _wait(self, start_s: float, timeout_s: float | None) -> JobStatus:
        until_s = math.inf if timeout_s is None else start_s + timeout_s
        lost_s: float | None = None  # since when nobody could be asked
        bar_of_job = Bar(self.name, self._show_progress)
        seen_every_s = POLL_S_MAX if bar_of_job.is_shown else HOLD_S_MAX
        with bar_of_job as bar, self._access.hearing(self.id) as hearing:
            while True:
                hold_s = hearing.listen(min(seen_every_s, until_s - time.monotonic()))
                try:
                    status = self._ask(hold_s=hold_s)
                except (ClusterError, JobLostError) as error:
                    now_s = time.monotonic()
                    lost_s = lost_s or now_s
                    if now_s - lost_s > SILENCE_S_MAX or not self._access.is_open:
                        raise JobLostError(
                            f"job {self.id} has been out of reach for {now_s - lost_s:.0f} s "
                            f"({error})"
                        ) from error
                else:
                    lost_s = None
                    if status.progress.phase in ENDED:
                        return status
                    bar.show(JobProgress.of(status.progress))
                now_s = time.monotonic()
                if now_s >= until_s:
                    raise self._out_of_time(timeout_s)
                pause_s_max = min(POLL_S_MAX, until_s - now_s)
                pause_s = min(max(POLL_S_MIN, (now_s - start_s) * POLL_SHARE), pause_s_max)
                hearing.pause(pause_s, pause_s_max)

    def _unreleased(self, timeout_s: float | None) -> JobStatus | None:
        """Wait for the end. None: the results were fetched, and are in this handle."""
        with self._waiting(timeout_s) as start_s:
            if self._results is not None:
                return None
            if self._released:
                raise JobError(f"the results of job {self.id} are released, and gone")
            return self._successful(start_s, timeout_s)

    def _each_part(self, status: JobStatus | None) -> Iterator[Iterator[Pairs]]:
        """The results, part by part and some at a time."""
        if status is None:
            yield iter([list((self._results or {}).items())])
            return
        for part in self._released_after(status):
            yield pieces_of(part, self._access, self.id)

    def _released_after(self, status: JobStatus) -> Iterator[OutputPart]:
        yield from self._all_parts(status)
        self.release()
        self._tell()

    def _of_pairs(self, status: StatusOrNone) -> StatusOrNone:
        """The same status. Raises JobError where results are text."""
        if status is not None and (form := form_of(status)):
            raise JobError(
                f"the tasks of job {self.id} have written its results as {form}, as its save_as "
                "says: fetch them with save(folder), or start it without save_as"
            )
        return status

    def _all_parts(self, status: JobStatus) -> Iterator[OutputPart]:
        parts, given = status.parts, 0
        while True:
            yield from parts
            given += len(parts)
            if given >= status.parts_total:
                return
            parts = self._ask(first_part=given).parts

    def _fetch(self, status: JobStatus) -> dict[Any, Any]:
        try:
            return dict_of(self._all_parts(status), self._access, self.id)
        except UserCodeError:
            self.release()
            raise
