"""Attempts in flight: given to a node, and neither ended nor given up."""

from __future__ import annotations

from collections.abc import Iterator

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import AttemptId, Counts, Running
from map_reduce.core.scheduling.account import Account
from map_reduce.core.scheduling.nodes import REST_S_MAX, Nodes, NodeState
from map_reduce.core.scheduling.states import TaskStep
from map_reduce.core.scheduling.tasks import Attempt, ReduceTask, Task


class Flights:
    """Each attempt stands in three places: here, at its task and at its node."""

    def __init__(self, nodes: Nodes, account: Account) -> None:
        self.attempts: dict[AttemptId, Attempt] = {}
        self._nodes = nodes
        self._account = account

    def begin(
        self, id_: AttemptId, task: Task, node: NodeState, size_bytes: int, now_s: float
    ) -> Attempt:
        """The attempt is its node's from now on."""
        attempt = Attempt(
            id_,
            task,
            node,
            heard_s=now_s,
            size_bytes=size_bytes,
            since_s=now_s,
            progressed_s=now_s,
            waits=node.queued >= 0,
            backup=bool(task.attempts),
        )
        task.attempts += (attempt,)
        task.step(TaskStep.STARTED)
        if not node.attempts:
            node.heard_s = now_s
        node.attempts[id_] = self.attempts[id_] = attempt
        self._nodes.place(node)
        return attempt

    def find(self, attempt_id: AttemptId, member: Member) -> Attempt | None:
        """The attempt, if it is in flight, and on that node."""
        attempt = self.attempts.get(attempt_id)
        return attempt if attempt is not None and attempt.node.member == member else None

    def note(self, attempt: Attempt, running: Running, now_s: float) -> None:
        """Its node says how far it is."""
        attempt.taken = True
        attempt.heard_s = now_s
        if running.bytes_in > attempt.bytes_done:
            attempt.bytes_done, attempt.progressed_s = running.bytes_in, now_s
        if not isinstance(attempt.task, ReduceTask):
            self._account.take_back(attempt.counts)
            attempt.counts = Counts(
                max(attempt.counts.records_in, running.records),
                max(attempt.counts.bytes_in, running.bytes_in),
            )
            self._account.add(attempt.counts)

    def overdue(
        self, now_s: float, silence_s_max: float, unlisted_s_max: float
    ) -> Iterator[tuple[Attempt, str]]:
        """Attempts that are to be given up, and why; their silent nodes are left alone for now."""
        for node in self._nodes:
            if node.attempts and now_s - node.heard_s > silence_s_max:
                self._nodes.rest(node, REST_S_MAX, now_s)
                why = f"{node.member} gave no sign of life for {silence_s_max:g} s"
                for attempt in list(node.attempts.values()):
                    yield attempt, why
        for attempt in list(self.attempts.values()):
            if now_s - attempt.heard_s > unlisted_s_max:
                yield attempt, f"{attempt.node.member} did not run it for {unlisted_s_max:g} s"

    def end(self, attempt: Attempt, now_s: float) -> NodeState:
        """The attempt is no longer in flight; the node that it was on."""
        task, node = attempt.task, attempt.node
        del self.attempts[attempt.id], node.attempts[attempt.id]
        task.attempts = tuple(other for other in task.attempts if other is not attempt)
        self._account.take_back(attempt.counts)
        if (next_one := node.next_to_run()) is not None:
            next_one.waits, next_one.since_s = False, now_s
        self._nodes.place(node)
        return node
