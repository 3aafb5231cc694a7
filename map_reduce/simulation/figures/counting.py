"""What one lookup costs."""

from __future__ import annotations

from dataclasses import dataclass

from map_reduce.core.identifiers import Address
from map_reduce.core.procedure import Procedure, T
from map_reduce.errors import ClusterError


@dataclass
class Cost:
    """Of one lookup, without what the asker asks itself."""

    answers: int = 0
    timeouts: int = 0

    @property
    def path(self) -> int:
        """Members asked on the way: without the last one, the owner, who only confirms.
        (SIGCOMM 2001, section 6.3, counts so: the hop to the owner is not among the ½ log2 N.)"""
        return max(0, self.answers - 1)


def counted(procedure: Procedure[T], cost: Cost, asker: Address | None = None) -> Procedure[T]:
    """The same procedure; what it asks of others than ``asker`` is counted."""
    try:
        ask = next(procedure)
        while True:
            elsewhere = ask.address != asker
            try:
                reply = yield ask
            except ClusterError as error:
                cost.timeouts += elsewhere
                ask = procedure.throw(error)
            else:
                cost.answers += elsewhere
                ask = procedure.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result
