"""What is lost by no fault of the task's own: map outputs, with their nodes or one by one.

An output is gone with its node, or when a reduce attempt could not fetch it. Which of the two ends
of a fetch is at fault cannot be told from one failure; so the output is given up, and from the
second time on the reduce task goes elsewhere as well. A node from which outputs cannot be had time
and again is taken to have lost them all: else each would cost a reduce attempt of its own.

An output whose ints were added up (``execution/summing.py``) is there, and yet lost for a reduce
task that has other numbers before them. From then on no map task of the job adds, and all outputs
that were added up are given up at once, on whichever nodes: no node is at fault.
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

ADDED = "its ints were added up, which was of no use"


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

    def told(self, attempt: Attempt, source: Source, sums: bool) -> str:
        """Why a reduce attempt is lost, in words."""
        task, at = attempt.task, attempt.node.member
        if sums:
            return f"{at} had no use for what was added up in {source.name} on {source.node}"
        if task.losses:
            task.avoid |= {at}
        return f"{at} could not fetch {source.name} from {source.node}"

    def unfetched(self, source: Source) -> Iterator[tuple[NodeState, list[MapTask]]]:
        """The node where it was to be had, and the tasks whose outputs are given up there; nothing
        where it has been given up since."""
        holder = self._nodes.at(source.node)
        lost = [] if holder is None else holder.outputs_named(source.name)
        if holder is None or not lost:
            return
        holder.fetches_failed += 1
        if holder.fetches_failed >= FETCHES_FAILED_MAX:
            holder.fetches_failed = 0
            lost = list(holder.outputs)
        yield holder, lost

    def added(self, source: Source) -> Iterator[tuple[NodeState, list[MapTask]]]:
        """From now on nothing is added up: the nodes that have outputs that were, and the tasks.

        Where a reduce attempt says so of an output of which its node did not, that node is of an
        earlier version and never does: all of its outputs are given up.
        """
        if self._ledger.adds:
            self._ledger.adds = False
            self._commits.adds_no_more()
        for node in self._nodes:
            outputs = [(task, task.output) for task in node.outputs if task.output]
            mute = node.member.address == source.node and any(
                output.name == source.name and not output.added for _, output in outputs
            )
            yield node, [task for task, output in outputs if mute or output.added]

    def give_up(
        self, node: NodeState, tasks: Iterable[MapTask], sums: bool = False
    ) -> Iterator[MapTask]:
        """Outputs that cannot be had from the node any more, or are ``sums`` of no use; the tasks
        that are to run again, which are those that some reduce task still needs."""
        for task in tasks:
            if self._ledger.needs(task):
                output = self._ledger.lose_output(task)
                self._commits.lost(task)
                del node.outputs[task]
                self._account.take_back(output.counts)
                if not sums and self._nodes.get(node.member):
                    task.avoid |= {node.member}
                yield task
