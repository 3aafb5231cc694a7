"""What is lost by no fault of the task's own: map outputs, with their nodes or one by one.

An output is gone with its node, or when a reduce attempt could not fetch it. Which of the two ends
of a fetch is at fault cannot be told from one failure; so the output is given up, and from the
second time on the reduce task goes elsewhere as well. A node from which outputs cannot be had time
and again is taken to have lost them all: else each would cost a reduce attempt of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from map_reduce.core.messages import Failure, Source
from map_reduce.core.scheduling import failures
from map_reduce.core.scheduling.account import Account
from map_reduce.core.scheduling.commits import Commits
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.nodes import Nodes, NodeState
from map_reduce.core.scheduling.tasks import Attempt, MapTask, Task

FETCHES_FAILED_MAX = 3
"""Map outputs that could not be fetched from one node, until all of that node's are given up."""


class Losses:
    """Takes note of losses for one job; what follows for the tasks is the scheduler's.

    Args:
        losses_max: times a task may be lost.
    """

    def __init__(
        self, ledger: Ledger, nodes: Nodes, commits: Commits, account: Account, losses_max: int
    ) -> None:
        self._ledger = ledger
        self._nodes = nodes
        self._commits = commits
        self._account = account
        self._losses_max = losses_max

    def count(self, task: Task, why: str) -> Failure | None:
        """The task is lost once more; what the job fails with where that is too often."""
        task.losses += 1
        return failures.lost_too_often(task, why) if task.losses > self._losses_max else None

    def unfetched(self, attempt: Attempt, source: Source) -> str:
        """A reduce attempt could not fetch a map output: why it is lost, in words."""
        task = attempt.task
        if task.losses:
            task.avoid |= {attempt.node.member}
        return f"{attempt.node.member} could not fetch {source.name} from {source.node}"

    def outputs_behind(self, source: Source) -> tuple[NodeState | None, list[MapTask]]:
        """The node where it was to be had, and the tasks whose outputs are given up there."""
        holder = self._nodes.at(source.node)
        lost = [] if holder is None else holder.outputs_named(source.name)
        if holder is None or not lost:
            return None, []  # it has been given up since
        holder.fetches_failed += 1
        if holder.fetches_failed >= FETCHES_FAILED_MAX:
            holder.fetches_failed = 0
            lost = list(holder.outputs)
        return holder, lost

    def give_up(self, node: NodeState, tasks: Iterable[MapTask]) -> Iterator[MapTask]:
        """Outputs that cannot be had from the node any more; the tasks that are to run again,
        which are those that some reduce task still needs."""
        for task in tasks:
            if self._ledger.needs(task):
                output = self._ledger.lose_output(task)
                self._commits.lost(task)
                del node.outputs[task]
                self._account.take_back(output.counts)
                if self._nodes.get(node.member):
                    task.avoid |= {node.member}
                yield task
