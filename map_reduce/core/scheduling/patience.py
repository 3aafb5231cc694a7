"""For how long a job may stand still before it fails: rule 6 of the scheduler."""

from __future__ import annotations

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Failure, JobSpec
from map_reduce.core.scheduling import failures
from map_reduce.core.scheduling.nodes import Nodes
from map_reduce.core.scheduling.pending import Pending


class Patience:
    """When the job was last served, and when its input could last be read.

    Args:
        no_node_s_max: how long to wait for a node that takes tasks, or that reads the input.
    """

    def __init__(self, spec: JobSpec, no_node_s_max: float, now_s: float) -> None:
        self._spec = spec
        self._no_node_s_max = no_node_s_max
        self._served_s = now_s
        self._readable_s = now_s
        self._last_refusal: tuple[Member, str] | None = None

    def served(self, now_s: float) -> None:
        """Some node took, ran or ended an attempt, or was busy, or those that come now are given
        their time."""
        self._served_s = now_s

    def refused(self, node: Member, reason: str) -> None:
        self._last_refusal = node, reason

    def ends_with(
        self, now_s: float, nodes: Nodes, queue: Pending, at_work: bool
    ) -> Failure | None:
        """Why the job must fail, if nobody can read its input, or nobody takes its tasks."""
        bound_s, slots = self._no_node_s_max, nodes.slots_total
        unreadable = None if nodes.readers_alive else queue.path_needed()
        failure: Failure | None = None
        if unreadable is None:
            self._readable_s = now_s
        elif slots and now_s - self._readable_s > bound_s:
            failure = failures.no_reader(bound_s, unreadable, self._spec.readers)
        if (slots and unreadable is not None) or at_work:
            self._served_s = now_s
        elif now_s - self._served_s > bound_s:
            if slots:
                return failures.all_refuse(bound_s, self._last_refusal)
            return failures.no_node(bound_s)
        return failure
