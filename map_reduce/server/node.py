"""A node: member of the ring, keeper of blocks, master of the jobs it owns, and worker.

    requests ──▶ Node.handle ──▶ Ring        (neighbours, lookups)
                     │       ──▶ BlockStore  (pieces)
                     │       ──▶ Repair      (copies)
                     │       ──▶ Records     (the replica)
                     │       ──▶ Masters     (jobs)
                     └───────▶  Attempts ──▶ WorkerPool
    loops:  ring maintenance · directory of nodes · signs of life and housekeeping · repair ·
            care for records · watching the masters of other nodes' jobs

A handler answers from local state and never waits, whichever part it belongs to; all waiting is
done by the loops and by the threads of Masters and Attempts. Where a client wants its request held
until there is news, it is the transport that waits (``runtime/holds.py``).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from map_reduce._version import PYTHON, VERSION
from map_reduce.core import names
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AdoptJob,
    AttemptsRunning,
    CancelJob,
    CheckFiles,
    CheckFunctions,
    Cluster,
    CompareArc,
    DamagedBlock,
    Done,
    EndedJob,
    EndJob,
    FilesSeen,
    GetArcs,
    GetCheck,
    GetCluster,
    GetJob,
    GetNode,
    GetPiece,
    Message,
    No,
    NoBlock,
    OrderAttempts,
    Piece,
    PieceStored,
    PutPiece,
    ReleaseJob,
    ReportAttempts,
    Request,
    StopNode,
    SubmitJob,
    WatchJobs,
    WhichMissing,
    WrongCluster,
)
from map_reduce.core.messages import Node as NodeReply
from map_reduce.core.messages.records import (
    AcceptRecord,
    GetRecord,
    GetReplica,
    ListRecords,
    PrepareRecord,
)
from map_reduce.core.scheduling.events import NodeSlots
from map_reduce.errors import BlockMissingError, ConfigError, MapReduceError, Refused
from map_reduce.ports import Transport
from map_reduce.runtime.attempts import Attempts
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.changes import Changes
from map_reduce.runtime.directory import Directory
from map_reduce.runtime.holds import Holds, holds_max
from map_reduce.runtime.inquiry import inquire
from map_reduce.runtime.links import Links
from map_reduce.runtime.masters import Masters
from map_reduce.runtime.own_replica import OwnReplica
from map_reduce.runtime.parallel import Parallel
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.placing import Placing
from map_reduce.runtime.post import Post
from map_reduce.runtime.record_care import RecordCare
from map_reduce.runtime.records import Records
from map_reduce.runtime.repair import Repair, RepairPace
from map_reduce.runtime.ring import Ring
from map_reduce.runtime.shuffling import answers_about_map_outputs
from map_reduce.runtime.surroundings import Surroundings
from map_reduce.runtime.threads import Loop, MonotonicClock, Threads
from map_reduce.server import keep
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.files import sees
from map_reduce.server.founding import join_or_found
from map_reduce.server.worker_pool import Workplace, prepare, workplace

log = logging.getLogger(__name__)

SIGNS_OF_LIFE_INTERVAL_S = 0.25
WATCH_INTERVAL_S = 0.25
DIRECTORY_INTERVAL_S = 1.0
NODE_SILENCE_S_MAX = 10.0
MASTER_SILENCE_S_MAX = 30.0
ATTEMPTS_PER_SLOT_MAX = 8
SETTLE_ROUNDS = 3
"""Rounds of ring maintenance in which neighbours must be the same before blocks move."""


class Node:
    """One node, alive from construction to :meth:`close`.

    Args:
        transport: not yet listening; the node closes it.
        join: addresses of members of the ring to join; empty to be a ring's first member.
        found: begin the ring if none of ``join`` is in one, and it is this node's turn.
        workers: started already, for a node at this address; the node closes them.

    Raises:
        ConfigError: an address or setting can't be used, or differs from the ring's.
        ClusterError: none of ``join`` could be joined; says what each answered.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        cluster: ClusterConfig | None = None,
        config: NodeConfig | None = None,
        join: Sequence[Address] = (),
        found: bool = False,
        workers: Workplace | None = None,
    ) -> None:
        self.config = config or NodeConfig()
        self.cluster = cluster or ClusterConfig()
        self.stop_requested = threading.Event()
        self.changes = Changes()
        self._clock = MonotonicClock()
        self._transport = transport
        self._closers = ExitStack()  # runs them all, in reverse, even if one fails
        self._links = Links()
        self._closers.callback(self._links.close)
        self._closers.callback(transport.close)
        try:
            self._build(workers)
            self._enter(join, found)
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ life

    def _build(self, workers: Workplace | None) -> None:
        """Make all parts, from the outside in; nothing runs or answers yet."""
        config, cluster = self.config, self.cluster
        address = self._transport.listen(Address(config.host, config.port))
        kept = keep.open_records(config.data_folder)
        self._closers.callback(kept.close)
        self.peers = Peers(
            self._transport,
            timeout_s=cluster.request_timeout_s,
            me=Member(address, kept.incarnation),
            handler=self.handle,
        )
        scratch, self._pool = workers or self._workplace(address)
        self._closers.callback(scratch.close)
        self._closers.callback(self._pool.close)
        self._store = keep.open_blocks(config, scratch)
        self._closers.callback(self._store.close)
        self._ring = Ring(
            self._ring_member(self.peers.member),
            self.peers,
            self._clock,
            interval_s=cluster.stabilize_interval_s,
        )
        self.blocks = RingBlocks(
            self.peers,
            self._ring.locate,
            replicas=cluster.replicas,
            store=self._store,
            placing=Placing(lambda: [node.member for node in self._directory.nodes]),
        )
        own = OwnReplica(address, kept)
        self.records = Records(
            peers=self.peers,
            clock=self._clock,
            me=self.peers.member,
            locate=self._ring.locate,
            own=own,
            members_max=cluster.replicas,
            timeout_s=cluster.request_timeout_s,
            dice=random.Random(),
        )
        self._closers.callback(self.records.close)
        self._attempts = Attempts(
            peers=self.peers,
            blocks=self.blocks,
            store=self._store,
            pool=self._pool,
            clock=self._clock,
            links=self._links,
            scratch=scratch.folder("fetched"),
            attempts_max=ATTEMPTS_PER_SLOT_MAX * config.slots,
            give_up_s=MASTER_SILENCE_S_MAX,
            inquire=partial(inquire, self.peers, self._ring.locate, cluster.replicas),
            is_over=lambda job_id: self.repair.is_over(job_id),
            checked=self.changes.note,
        )
        self._closers.callback(self._attempts.close)
        self._closers.callback(self.blocks.close)
        self.repair = Repair(
            peers=self.peers,
            view=self._ring.view,
            store=self._store,
            clock=self._clock,
            replicas=cluster.replicas,
            pace=RepairPace(
                settle_s=SETTLE_ROUNDS * cluster.stabilize_interval_s,
                interval_s=config.repair_interval_s,
                bytes_per_s_max=config.repair_mb_per_s_max * (1 << 20),
                handover_s_max=config.handover_s_max,
            ),
            end_job=self._forget_job,
            deleted_jobs_max=config.deleted_jobs_max,
            ended_jobs=keep.open_ended_jobs(config.data_folder),
            changed=lambda name: self._masters.watcher.changed(name),
        )
        self._directory = Directory(
            self.peers, self._ring.members, config.slots, self._nodes_changed
        )
        self._record_care = RecordCare(
            records=self.records,
            own=own,
            ring=lambda: [node.member for node in self._directory.nodes],
            clock=self._clock,
            members_max=cluster.replicas,
            gone_after_s=config.record_move_after_s,
            buried_max=config.deleted_jobs_max,
            dice=random.Random(),
        )
        around = Surroundings(
            peers=self.peers,
            blocks=self.blocks,
            records=self.records,
            clock=self._clock,
            nodes=lambda: self._directory.nodes,
            orders=Post(self.peers, OrderAttempts, "map-reduce-orders"),
            senders=Threads("map-reduce-master-send", threads_max=8),
            writers=Threads("map-reduce-master-write", threads_max=16),
            parallel=Parallel(self.peers, "map-reduce-master-ask", threads_max=32, here=address),
            lease_s=cluster.lease_s,
            attempts_max=cluster.attempts_max,
            task_timeout_s=cluster.task_timeout_s_max,
            backups=bool(cluster.backups),
            node_silence_s_max=NODE_SILENCE_S_MAX,
            changes=self.changes,
        )
        self._masters = Masters(around, self._store, result_ttl_s=config.result_ttl_s)
        self._closers.callback(self._masters.close)
        self._holds = Holds(
            self.changes,
            self._masters.has_news,
            self._attempts.has_verdict,
            holds_max=holds_max(),
        )
        self._answers = self._answer_table()

    def _ring_member(self, me: Member) -> RingMember:
        cluster = self.cluster
        return RingMember(
            me,
            now_s=self._clock.now_s,
            successors_max=cluster.successors,
            dead_after_s=cluster.dead_after_s,
            silence_s=cluster.silent_after_s,
            pause_s_max=max(2.0, 2 * (cluster.stabilize_interval_s + cluster.request_timeout_s)),
        )

    def _workplace(self, address: Address) -> Workplace:
        beginnings = prepare(str(address), self.cluster, self.config)
        try:
            return workplace(beginnings, self.config)
        except BaseException:
            beginnings.close()
            raise

    def _enter(self, join: Sequence[Address], found: bool) -> None:
        """Start answering, and become a member."""
        if found:
            join_or_found(self.address, join, self._join, lambda: self._begin(join))
        elif join:
            self._join(join)
        else:
            self._begin(())
        self._closers.callback(self._ring.leave)
        loops = [
            Loop("map-reduce-ring", self._ring.maintain, self._ring.pause_s),
            Loop("map-reduce-nodes", self._directory.refresh, lambda: DIRECTORY_INTERVAL_S),
            Loop("map-reduce-signs", self._keep_house, lambda: SIGNS_OF_LIFE_INTERVAL_S),
            Loop("map-reduce-watch", self._masters.watcher.step, lambda: WATCH_INTERVAL_S),
        ]
        for loop in loops:
            loop.start()
            self._closers.callback(loop.close)
        repairs = Loop("map-reduce-repair", self.repair.step, self._ring.pause_s)
        repairs.start()
        care = self._record_care
        cares = Loop("map-reduce-record-care", care.step, lambda: care.interval_s)
        cares.start()
        # In reverse: records are moved, blocks are handed over, and then the ring is left.
        for end in (self.repair.hand_over, repairs.close, self.repair.stop):
            self._closers.callback(end)
        self._closers.callback(care.leave, self.config.handover_s_max)
        for end in (cares.close, care.stop, self._holds.close):
            self._closers.callback(end)

    def _begin(self, seeds: Sequence[Address]) -> None:
        """Be the first of a ring. Should one of ``seeds`` begin one too, the two become one."""
        self.peers.cluster_id = self.config.cluster_id or uuid.uuid4().hex
        self._ring.create(seeds)
        self._transport.serve(self.handle, self._holds.to_hold)

    def _join(self, seeds: Sequence[Address]) -> None:
        self.peers.cluster_id = self._agree_with(seeds)
        if self.config.cluster_id not in ("", self.peers.cluster_id):
            raise ConfigError(
                f"{' and '.join(map(str, seeds))} are of the cluster {self.peers.cluster_id}, and "
                f"MR_CLUSTER_ID says that this node is of {self.config.cluster_id}"
            )
        self._transport.serve(self.handle, self._holds.to_hold)
        self._ring.join(seeds)

    def _agree_with(self, seeds: Sequence[Address]) -> str:
        """The cluster id of the ring behind ``seeds``, whose settings must equal ours."""
        problems = []
        for seed in seeds:
            try:
                theirs = self.peers.request(seed, GetCluster(), Cluster)
            except MapReduceError as error:
                problems.append(str(error))
                continue
            self._compare(seed, theirs)
            return theirs.cluster_id
        raise Refused(f"no node to join answers: {'; '.join(problems)}")

    def _compare(self, seed: Address, theirs: Cluster) -> None:
        if theirs.python != PYTHON:
            raise ConfigError(
                f"this node runs Python {PYTHON}, the ring of {seed} Python {theirs.python}; "
                "functions travel between equal minor versions only"
            )
        for name, value in self.cluster.settings().items():
            if theirs.settings.get(name) != value:
                variable = next(
                    f.metadata["variable"]
                    for f in dataclasses.fields(self.cluster)
                    if f.name == name
                )
                raise ConfigError(
                    f"{name} is {value} here and {theirs.settings.get(name)} on the ring of "
                    f"{seed}; set {variable} alike on all nodes"
                )

    def close(self) -> None:
        """Leave the ring and end everything, in the reverse order of the start."""
        self._closers.close()

    def expect_work(self) -> None:
        """A client in this process is about to submit a job that is work for every slot."""
        self._pool.expect()

    @property
    def address(self) -> Address:
        return self.peers.member.address

    # ------------------------------------------------------------------ requests

    def handle(self, request: Request) -> Message:
        """Answer a request, at once."""
        if request.cluster_id and request.cluster_id != self.peers.cluster_id:
            return WrongCluster(self.peers.cluster_id)
        body = request.body
        answer = self._answers.get(type(body))
        try:
            if answer is not None:
                return answer(body)
            reply = self._ring.handle(body, request.sender)
        except Exception as error:  # a defect, which must not take the asking thread along
            log.exception("could not answer %s", type(body).__name__)
            return No(f"internal error ({type(error).__name__})")
        return reply if reply is not None else No(f"{type(body).__name__} is not a request")

    def _answer_table(self) -> dict[type[Message], Callable[[Any], Message]]:
        masters, attempts = self._masters, self._attempts
        return {
            GetCluster: lambda m: self._cluster(),
            PutPiece: self._put_piece,
            GetPiece: self._get_piece,
            **answers_about_map_outputs(self._store, self.address),
            SubmitJob: lambda m: masters.submit(m.job_id, m.spec),
            GetJob: masters.status,
            CancelJob: lambda m: masters.cancel(m.job_id),
            ReleaseJob: masters.release,
            ReportAttempts: masters.reported,
            AttemptsRunning: masters.attempts_running,
            OrderAttempts: attempts.ordered,
            WatchJobs: masters.watched,
            AdoptJob: attempts.adopt,
            EndJob: self._end_job,
            CompareArc: self.repair.handle,
            GetArcs: self.repair.handle,
            WhichMissing: self.repair.handle,
            DamagedBlock: self.repair.handle,
            CheckFunctions: attempts.check,
            GetCheck: lambda m: attempts.verdict(m.check_id),
            CheckFiles: lambda m: FilesSeen(all(map(sees, m.files))),
            GetNode: lambda m: self._about(),
            GetReplica: self._keep_record,
            ListRecords: self._keep_record,
            **dict.fromkeys((GetRecord, PrepareRecord, AcceptRecord), self._of_records),
            StopNode: lambda m: self._request_stop(),
        }

    def _cluster(self) -> Message:
        return Cluster(self.peers.cluster_id, self.cluster.settings(), PYTHON, VERSION)

    def _end_job(self, message: EndJob) -> Message:
        self.repair.ended(EndedJob(message.job_id, message.blocks))
        return Done()

    def _forget_job(self, job_id: str, blocks: bool) -> None:
        """A job has ended; with ``blocks`` nobody needs anything of it any more."""
        self._attempts.end_job(job_id, blocks=blocks)
        self._masters.over(job_id, blocks=blocks)
        if blocks:
            self.records.bury_job(job_id)

    def _of_records(self, message: GetRecord | PrepareRecord | AcceptRecord) -> Message:
        if self.repair.is_forgotten(names.job_of(message.name)):
            return No(f"the job of record {message.name} has ended, and was forgotten")
        return self._keep_record(message)

    def _keep_record(self, message: Message) -> Message:
        reply = self.records.handle(message)
        assert reply is not None
        return reply

    def _put_piece(self, message: PutPiece) -> Message:
        if (refusal := self.repair.refuses(message.ref)) is not None:
            return refusal
        try:
            return PieceStored(self._store.put_piece(message.ref, message.offset, message.data))
        except (MapReduceError, OSError) as error:  # damaged, or the disk is full
            return No(f"piece not stored: {error}")

    def _get_piece(self, message: GetPiece) -> Message:
        try:
            return Piece(*self._store.read(message.name, message.offset, message.length_bytes))
        except BlockMissingError:
            return NoBlock(message.name)

    def _about(self) -> NodeReply:
        predecessor, successors = self._ring.view()
        blocks, block_bytes = self._store.usage()
        return NodeReply(
            member=self.peers.member,
            pid=os.getpid(),
            slots=self.config.slots,
            slots_busy=len(self._pool.running()),
            blocks=blocks,
            block_bytes=block_bytes,
            jobs=self._masters.lines(),
            watched=self._masters.watcher.lines(),
            predecessor=predecessor,
            successors=successors,
            python=PYTHON,
            version=VERSION,
        )

    def _request_stop(self) -> Message:
        self.stop_requested.set()
        return Done()

    # ------------------------------------------------------------------ loops

    def _nodes_changed(self, nodes: tuple[NodeSlots, ...]) -> None:
        self._masters.nodes_changed(nodes)

    def _keep_house(self) -> None:
        self._attempts.send_signs_of_life()
        self._masters.forget_expired()
