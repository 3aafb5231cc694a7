"""The client: three lines from data and two functions to results."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from map_reduce.errors import ClusterError, ConfigError, JobError, NoNodeError
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.embedded import embed
from map_reduce.server.state import may_know_a_cluster

if TYPE_CHECKING:  # imported where they are needed, since by then a worker process is starting
    from map_reduce.client.dataset import Dataset
    from map_reduce.client.explain import Explanation
    from map_reduce.client.handle import JobHandle
    from map_reduce.client.job_list import JobInfo
    from map_reduce.core.identifiers import Member
    from map_reduce.job import MapFunction, Options, ReduceFunction
    from map_reduce.server.access import Access
    from map_reduce.server.discovery import Found

log = logging.getLogger(__name__)

DATASET_TTL_S = 86_400.0


class ServerInterface:
    """A cluster, or a node of one's own where there is none.

    Which cluster: the one at ``address``; else at the environment variable
    ``MAP_REDUCE_ADDRESS``; else the one in this user's cluster file, which ``map-reduce cluster``
    and ``scripts/batch_run`` write; else a node embedded in this process. One line on standard
    error says which it is.

    Any number of jobs, one after another or at the same time, from any threads. Leaving the
    ``with`` block, or :meth:`close`, ends an embedded node and its jobs; jobs on a cluster go
    on. Closed at the latest when the interpreter exits.

    Args:
        address: ``HOST:PORT`` of any node of a cluster.
        certs: a folder with a client's certificates, as ``map-reduce certs issue`` makes it; by
            default the one that ``MR_CERTS_FOLDER`` names. Without, only this user's clusters on
            this machine can be used.
        slots: worker processes of an embedded node; by default one for each processor.
        progress: show a progress bar while waiting; None shows it on terminals.
        quiet: don't say on standard error which cluster is used.

    Raises:
        NoNodeError: nobody answers at the address given, or named by the environment variable.
        ConfigError: an address, a setting or a certificate is wrong; names it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        certs: str | Path | None = None,
        slots: int | None = None,
        progress: bool | None = None,
        quiet: bool = False,
    ) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._last: JobHandle | None = None
        self._access, self.where = _open(address, certs, slots)
        atexit.register(self._access.close)
        # Garbage may be collected in any thread, one of the node's own among them.
        self._finalizer = weakref.finalize(self, _close_in_a_thread, self._access)
        self._finalizer.atexit = False
        if not quiet and sys.stderr is not None:
            print(f"map-reduce: {self.where}", file=sys.stderr)

    def startup(
        self,
        data: Any,
        map: MapFunction,
        reduce: ReduceFunction,
        combine: ReduceFunction | None = None,
        *,
        name: str = "",
        options: Options | None = None,
        sort: bool = False,
        sort_values: bool | Callable[[Any], Any] = False,
        save_as: str = "",
    ) -> JobHandle:
        """Submit a job, and return without waiting for it.

        Args:
            data: what to map over. A list or any other iterable of items (``map(index, item)``);
                a mapping (``map(key, value)``); a path, a pattern such as ``"logs/*.gz"``, a list
                of ``pathlib.Path``, or :class:`map_reduce.Files` (``map(line_number, line)``,
                numbered from 0 in each file). Also a job's handle (``map(key, result)``, for all
                that it results in, straight from where it lies in the ring), a :class:`.Dataset`,
                or a list of inputs with one of these two among them. A job that has not ended yet
                is waited for, here.
            map, reduce, combine, name, sort, sort_values, save_as: see :class:`map_reduce.Job`.
            options: what is asked of its tasks, as in ``Options(on_bad_record="skip:10")``; see
                :class:`map_reduce.Options`.

        Returns:
            The job's handle, which is always true.

        Raises:
            FunctionError: a function is not callable, or can't be sent to the workers.
            InputError: the data can't be read as asked; names the file or item.
            ClusterError: the cluster can't be reached, or did not begin the job within 60 s.
        """
        from map_reduce.client.handle import JobHandle
        from map_reduce.client.inputs import held, read_inputs
        from map_reduce.client.submission import submit
        from map_reduce.job import Job, Options

        began_s = time.monotonic()
        job = Job(map, reduce, combine, name, options or Options(), sort, sort_values, save_as)
        self._access.check_usable()
        with contextlib.ExitStack() as undo:
            reads = held(data)
            for part in reads:
                undo.callback(part.let_go)
            sources = read_inputs(data)
            slots, loads = self._capacity()
            submitted = submit(self._access, job, sources, slots, loads)
            undo.pop_all()
        handle = JobHandle(
            self._access,
            submitted,
            job.name,
            show_progress=self._progress,
            keeper=self,
            began_s=began_s,
            combines=combine is not None,
            reads=reads,
        )
        with self._lock:
            self._last = handle
        return handle

    def dataset(self, data: Any, *, name: str = "", ttl_s: float = DATASET_TTL_S) -> Dataset:
        """Store an input once, for any number of jobs: what iterations read again and again.

        Jobs read it as they would read the data. What it decodes to is kept in memory by the
        worker processes, up to 32 MiB of blocks in each, as far as it is numbers, texts and tuples
        of these; anything else might be changed by a map function, and is decoded for each job.

        Args:
            data: as for :meth:`startup`, but no job or dataset. Files are stored decompressed.
            ttl_s: seconds that it is kept, unless it is released before; a day by default.

        Raises:
            InputError: the data can't be read as asked; names the file or item.
            ClusterError: the cluster can't be reached, or did not take it.
        """
        from map_reduce.client.dataset import Dataset, no_map, no_reduce
        from map_reduce.client.handle import JobHandle
        from map_reduce.client.inputs import read_input
        from map_reduce.client.submission import store
        from map_reduce.job import Job, Options

        job = Job(no_map, no_reduce, None, name or "dataset", Options(result_ttl_s=ttl_s))
        self._access.check_usable()
        slots, loads = self._capacity()
        submitted, splits = store(self._access, job, read_input(data), slots, loads)
        handle = JobHandle(self._access, submitted, job.name, show_progress=False, keeper=self)
        return Dataset(handle, submitted.job_id, splits)

    def explain(
        self,
        data: Any,
        map: MapFunction,
        reduce: ReduceFunction,
        combine: ReduceFunction | None = None,
        *,
        sample: float = 0.01,
        options: Options | None = None,
        sort: bool = False,
        sort_values: bool | Callable[[Any], Any] = False,
    ) -> Explanation:
        """What a job would do, estimated from a sample of its input; ``print`` it.

        The functions run over the sample, in the workers, as a small job of its own; its results
        are thrown away. After a job, :meth:`JobHandle.explain` says what was measured.

        Args:
            data, map, reduce, combine, options, sort, sort_values: as for :meth:`startup`;
                ``data`` may be anything but an iterator.
            sample: the share of the input, taken from eight places spread over it: at least
                64 KiB or 125 items each, at most 4 MiB or 25,000 items; of a job's results or a
                dataset whole blocks, eight at most.

        Raises:
            ConfigError: ``sample`` is not between 0 and 1.
            FunctionError, InputError, ClusterError: as :meth:`startup` does.
            UserCodeError: as :meth:`JobHandle.result` does.
        """
        from map_reduce.client.asking import JobSource
        from map_reduce.client.explain import estimated
        from map_reduce.client.handle import JobHandle
        from map_reduce.client.inputs import held, read_inputs
        from map_reduce.client.sample import sample_of
        from map_reduce.client.submission import submit
        from map_reduce.job import Job, Options

        if not 0 < sample <= 1:
            raise ConfigError(f"sample is {sample!r}; it is a share of the input, as 0.01")
        job = Job(map, reduce, combine, "", options or Options(), sort, sort_values)
        self._access.check_usable()
        with contextlib.ExitStack() as until_done:
            for part in held(data):
                until_done.callback(part.let_go)
            slots, loads = self._capacity()
            per_chunk = self._access.cluster.items_per_chunk
            taken = sample_of(read_inputs(data), sample, slots, per_chunk)
            submitted = submit(self._access, job, [taken], slots, loads)
            handle = JobHandle(self._access, submitted, job.name, show_progress=False, keeper=self)
            handle.wait()
            status = JobSource(self._access, handle.id, submitted.master).status(tally=True)
            handle.release()
        return estimated(status.figures, taken, combines=combine is not None)

    def attach(self, job_id: str) -> JobHandle:
        """A handle of a job that was submitted by anybody, here or elsewhere.

        Raises:
            JobLostError: no node knows the job: it was released, or its results were kept for as
                long as they should be.
            ClusterError: the cluster can't be reached.
        """
        from map_reduce.client.asking import JobSource
        from map_reduce.client.handle import JobHandle
        from map_reduce.client.submission import Submitted

        self._access.check_usable()
        self._access.members()
        status = JobSource(self._access, job_id, None).status()
        return JobHandle(
            self._access,
            Submitted(job_id, status.master),
            status.name,
            show_progress=self._progress,
            keeper=self,
        )

    def jobs(self) -> list[JobInfo]:
        """The jobs that the cluster knows, whoever submitted them. Raises ClusterError."""
        from map_reduce.client.job_list import jobs_of

        self._access.check_usable()
        return jobs_of(self._access)

    def await_results(
        self, job: JobHandle | None = None, timeout_s: float | None = None
    ) -> dict[Any, Any]:
        """The results of ``job``, or of the job started last: see :meth:`JobHandle.result`."""
        job = job or self._last
        if job is None:
            raise JobError("no job was started; call startup(data, map, reduce) first")
        return job.result(timeout_s)

    def close(self) -> None:
        """End an embedded node, or the connections to a cluster. Harmless when repeated."""
        self._access.close()
        self._finalizer.detach()
        atexit.unregister(self._access.close)

    def __enter__(self) -> ServerInterface:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _capacity(self) -> tuple[int, dict[Member, float]]:
        """The worker processes of all nodes, and about how many bytes each node owns."""
        from map_reduce.core.messages import GetNode, Node

        slots = 0
        held: dict[Member, float] = {}
        for member in self._access.members():
            try:
                node = self._access.peers.request(member.address, GetNode(), Node)
            except ClusterError as error:
                log.info("node %s does not tell its slots: %s", member, error)
                continue
            slots += node.slots
            held[member] = node.block_bytes
        copies = max(1, min(self._access.cluster.replicas, len(held)))
        return max(1, slots), {member: size / copies for member, size in held.items()}


def _close_in_a_thread(access: Access) -> None:
    atexit.unregister(access.close)
    threading.Thread(target=access.close, name="map-reduce-close").start()


def _open(address: str | None, certs: str | Path | None, slots: int | None) -> tuple[Access, str]:
    """Find a cluster or embed a node; what was done, for people."""
    found, stale = _find(address), ""
    if found is not None:
        try:
            return _connect(found, certs)
        except NoNodeError:
            if found.binding:
                raise
            stale = f"; {found.source} names a cluster, but nobody answers there"
    config = NodeConfig.from_environment()
    if slots is not None:
        config = dataclasses.replace(config, slots=slots)
    access = embed(ClusterConfig.from_environment(), config)
    workers = f"{config.slots} worker{'s' if config.slots > 1 else ''}"
    return access, f"no cluster, so this process runs a node of its own with {workers}{stale}"


def _find(address: str | None) -> Found | None:
    if address is None and not may_know_a_cluster():
        return None
    from map_reduce.server.discovery import find_cluster  # late: mostly there is none

    return find_cluster(address)


def _connect(found: Found, certs: str | Path | None) -> tuple[Access, str]:
    from map_reduce.server.access import connect  # late: an embedded node needs no network
    from map_reduce.server.trust import credentials
    from map_reduce.transport.pyro import PyroTransport

    proof = credentials(certs or found.certs_folder, found.token_file)
    transport = PyroTransport(proof, packing=bool(NodeConfig.from_environment().compression))
    try:
        access = connect(found.addresses, transport)
    except BaseException:
        transport.close()
        raise
    with contextlib.suppress(ClusterError):
        access.members()  # so that any of them is a way in, should this one die
    return access, f"using the cluster at {found.addresses[0]} ({found.source})"
