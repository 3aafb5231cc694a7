"""Whether a history of one register could have happened one operation after the other.

Wing and Gong ("Testing and verification for concurrent objects", 1993): look for an order of the
operations in which each takes effect between its call and its return, and each result is what the
register would have answered. Lowe's improvement ("Testing for linearizability", 2017): remember which
(operations done, value) pairs were tried, so none is tried twice.

An operation whose outcome is unknown has no return: it may take effect at any time after its call,
or never.

The value is a number, 0 at first. The operations::

    read               result: the value
    write (new)        result: ignored
    cas (old, new)     result: whether the value was old; if so it is new now
    add (amount)       result: the value afterwards
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NEVER = 1 << 62


@dataclass(frozen=True)
class Operation:
    """One call. Times are any numbers that grow; equal times count as at once."""

    kind: str
    arguments: tuple[int, ...]
    called: int
    returned: int = NEVER
    result: int | bool | None = None

    def __str__(self) -> str:
        arguments = ", ".join(map(str, self.arguments))
        if self.returned == NEVER:
            return f"{self.kind}({arguments}) called {self.called}, outcome unknown"
        return f"{self.kind}({arguments}) = {self.result}, {self.called} to {self.returned}"


def after(value: int, operation: Operation) -> int | None:
    """The value after the operation; None where its result is not what ``value`` leads to."""
    known = operation.returned != NEVER
    arguments, result = operation.arguments, operation.result
    match operation.kind:
        case "read":
            return value if not known or result == value else None
        case "write":
            return arguments[0]
        case "cas":
            done = value == arguments[0]
            if known and result != done:
                return None
            return arguments[1] if done else value
        case _:
            value += arguments[0]
            return value if not known or result == value else None


def explain(history: Sequence[Operation]) -> str | None:
    """None where the history is linearizable; otherwise how far one gets and what is in the way."""
    operations = sorted(history, key=lambda o: (o.called, o.returned))
    needed = 0
    for index, operation in enumerate(operations):
        if operation.returned != NEVER:
            needed |= 1 << index
    tried = {(0, 0)}
    todo = [(0, 0)]
    best = (0, 0)
    while todo:
        done, value = todo.pop()
        if done & needed == needed:
            return None
        if done.bit_count() > best[0].bit_count():
            best = (done, value)
        for index in reversed(_next(operations, done)):
            following = after(value, operations[index])
            if following is not None:
                state = (done | 1 << index, following)
                if state not in tried:
                    tried.add(state)
                    todo.append(state)
    stuck = "; ".join(str(operations[index]) for index in _next(operations, best[0]))
    return f"not linearizable: with the value {best[1]} none of these can come next: {stuck}"


def _next(operations: Sequence[Operation], done: int) -> list[int]:
    """Those that may take effect next: called before any other that is left has returned.

    In the order of their returns, since what returned first most likely happened first.
    """
    first_return = NEVER
    candidates = []
    # the lowest bit that is not set in done
    for index in range((~done & (done + 1)).bit_length() - 1, len(operations)):
        if done >> index & 1:
            continue
        operation = operations[index]
        if operation.called > first_return:
            break
        first_return = min(first_return, operation.returned)
        candidates.append(index)
    candidates = [i for i in candidates if operations[i].called <= first_return]
    return sorted(candidates, key=lambda i: operations[i].returned)
