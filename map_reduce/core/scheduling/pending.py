"""Tasks that wait for a node, by which nodes may run them.

Almost every task can go to any node, or to any node that sees the input files. Only one that
has failed somewhere is choosy about nodes; such tasks go first, since the rest of the job may
wait for them, and those that avoid the same nodes wait in one queue. So finding a node's next
task means looking at a few queues, never at all tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from map_reduce.core.identifiers import Member
from map_reduce.core.scheduling.nodes import Nodes, NodeState
from map_reduce.core.scheduling.tasks import Task


class Needs(NamedTuple):
    """What a task asks of a node."""

    reader: bool  # that it sees the input files
    avoid: frozenset[Member]  # that it is none of these, if there is another

    @classmethod
    def of(cls, task: Task) -> Needs:
        return cls(task.readers_only, task.avoid)

    def met_by(self, node: NodeState, nodes: Nodes) -> bool:
        """Whether the node can run the task, and no other node that is awake should rather."""
        if self.reader and not node.reader:
            return False
        return node.member not in self.avoid or not any(
            (other.reader or not self.reader) and other.member not in self.avoid
            for other in nodes.awake()
        )


ANY_READER = Needs(reader=True, avoid=frozenset())


class Pending:
    """The tasks that wait for a node, each once; taking one that suits a node is O(1)."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._choosy: dict[Needs, deque[Task]] = {}
        self._readers: deque[Task] = deque()
        self._anywhere: deque[Task] = deque()
        self._count = 0
        for task in tasks:
            if task.avoid:
                self.put_back(task)
            else:
                (self._readers if task.readers_only else self._anywhere).append(task)
                self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        return chain(*self._choosy.values(), self._readers, self._anywhere)

    def path_needed(self) -> str | None:
        """The path of an input file that a task here needs, if there is one."""
        for needs, queue in (*self._choosy.items(), (ANY_READER, self._readers)):
            if needs.reader and queue:
                return queue[0].path
        return None

    @property
    def readers_only(self) -> bool:
        """Whether all of them do."""
        return not self._anywhere and all(needs.reader for needs in self._choosy)

    def put_back(self, task: Task) -> None:
        """Add a task that has been given out before; it goes before those that have not."""
        if task.avoid:
            self._choosy.setdefault(Needs.of(task), deque()).append(task)
        else:
            (self._readers if task.readers_only else self._anywhere).appendleft(task)
        self._count += 1

    def has_for(self, node: NodeState, nodes: Nodes) -> bool:
        """Whether some task here should be run by this node."""
        return bool(self._queue_for(node, nodes))

    def take(self, node: NodeState, nodes: Nodes) -> Task | None:
        """Remove and return the next task that this node should run; None where there is none."""
        queue = self._queue_for(node, nodes)
        if not queue:
            return None
        task = queue.popleft()
        self._count -= 1
        if task.avoid and not queue:
            del self._choosy[Needs.of(task)]
        return task

    def _queue_for(self, node: NodeState, nodes: Nodes) -> deque[Task]:
        for needs, queue in self._choosy.items():
            if needs.met_by(node, nodes):
                return queue
        return self._readers if self._readers and node.reader else self._anywhere
