"""Going on where another master was: from the ledger in the ring to the scheduler's own.

What was committed stays committed, whichever attempt this master would have chosen. A map output
that was committed and is gone with its node (not listed any more), or that the node says it does
not have, is made again, if some reduce task still needs it; so is one whose ints were added up,
where that was of no use. What the nodes say they run is in
flight, also where its attempt has ended meanwhile: that is about to be reported. What failed
attempts have taught is known again, as far as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import AttemptId, JobSpec, MapOutput, ReduceOutput
from map_reduce.core.scheduling.account import Account
from map_reduce.core.scheduling.events import TakenOver
from map_reduce.core.scheduling.flights import Flights
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.nodes import Nodes, NodeState
from map_reduce.core.scheduling.states import TaskStep
from map_reduce.core.scheduling.tasks import ReduceTask, Task


def restore(
    ledger: Ledger, nodes: Nodes, account: Account, spec: JobSpec, event: TakenOver
) -> None:
    """Fill a ledger that is still empty. ``nodes`` are those that the event lists."""
    ledger.cut(spec)
    ledger.adds = event.adds
    for win in event.maps:
        task = ledger.maps[win.task]
        task.step(TaskStep.STARTED)
        made = MapOutput(win.name, win.sizes, win.counts, win.tally, win.added)
        ledger.commit(task, win.attempt(spec.job_id), win.node, made)
    if event.cuts is not None:
        ledger.cut_reduce(event.cuts)
    for won in event.finals:
        final = ledger.finals[won.task]
        final.step(TaskStep.STARTED)
        attempt = AttemptId(spec.job_id, final.phase, won.task, won.number, won.epoch)
        ledger.commit(final, attempt, won.node, ReduceOutput(won.part, won.counts, won.tally))
    for trouble in event.troubles:
        known = ledger.task_at(trouble.phase, trouble.task)
        if known is not None:
            known.endings, known.known_bad = trouble.endings, trouble.known_bad
            known.avoid = frozenset(ending.node for ending in trouble.endings)
    _find_outputs(ledger, nodes, event)
    for committed in (*ledger.maps, *ledger.finals):
        if committed.winner is not None and not isinstance(committed, ReduceTask):
            account.add(ledger.counts_of(committed))


def _find_outputs(ledger: Ledger, nodes: Nodes, event: TakenOver) -> None:
    lost = {(holding.node, task) for holding in event.holdings for task in holding.lost}
    for task in ledger.maps:
        if task.output is None:
            continue
        node = nodes.get(task.output.node)
        gone = node is None or (node.member, task.index) in lost
        gone = gone or (task.output.added and not ledger.adds)
        if gone and ledger.needs(task):
            ledger.lose_output(task)
        elif node is not None:
            node.outputs[task] = None


def adopt(
    ledger: Ledger, nodes: Nodes, flights: Flights, event: TakenOver, now_s: float
) -> Iterator[tuple[AttemptId, Member]]:
    """Put in flight what the nodes run; those attempts that nobody needs any more."""
    for holding in event.holdings:
        node = nodes.get(holding.node)
        for id_ in holding.attempts:
            task: Task | None = ledger.task_of(id_)
            if node is None or task is None or not _is_wanted(task, id_, node):
                yield id_, holding.node
            elif id_ not in flights.attempts:
                flights.begin(id_, task, node, ledger.size_bytes(task), now_s).taken = True


def _is_wanted(task: Task, id_: AttemptId, node: NodeState) -> bool:
    """Whether an attempt that runs there may go on: at most one and a backup, on two nodes. One
    whose failure counts already is only told of once more."""
    if task.winner is not None or any(ending.attempt == id_ for ending in task.endings):
        return False
    others = {attempt.node for attempt in task.attempts}
    return len(others - {node}) < 2 and node not in others
