"""Whether a history of one register could have happened one operation after the other.

Wing and Gong ("Testing and verification for concurrent objects", 1993): look for an order of the
operations in which each takes effect between its call and its return, and each result is what the
register would have answered. Lowe's improvement ("Testing for linearizability", 2017): remember
which (operations done, value) pairs were tried, so none is tried twice. Additions are of positive
amounts.

An operation whose outcome is unknown has no return: it may take effect at any time after its call,
or never.

Four cuts keep the search short; each only leaves out orders that have an equal:

- what may come next, can never change anything and has the right result comes next;
- an unknown operation needs no place where it would change nothing;
- of two unknown operations that are alike, the one called first goes first;
- a value that is still needed by a result, and that nothing left can bring about, is the end.

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
    """One call. Times are any numbers that grow; equal times count as at once.

    ``place`` is where in the order somebody believes it to be. It decides what is tried first, so
    that the search is short where the belief is right; it cannot make a wrong history right.
    """

    kind: str
    arguments: tuple[int, ...]
    called: int
    returned: int = NEVER
    result: int | bool | None = None
    place: int = 0

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
        for state in _steps(operations, done, value):
            if state not in tried:
                tried.add(state)
                if _is_alive(operations, *state):
                    todo.append(state)
    stuck = "; ".join(str(operations[index]) for index in _next(operations, best[0]))
    return f"not linearizable: with the value {best[1]} none of these can come next: {stuck}"


def _steps(operations: Sequence[Operation], done: int, value: int) -> list[tuple[int, int]]:
    """What (operations done, value) may follow, the most likely last."""
    alike: set[tuple[str, tuple[int, ...]]] = set()
    steps = []
    for index in _next(operations, done):
        operation = operations[index]
        following = after(value, operation)
        if operation.returned == NEVER:
            kind = (operation.kind, operation.arguments)
            if following == value or kind in alike:
                continue
            alike.add(kind)
        elif following == value and _only_looks(operation):
            return [(done | 1 << index, value)]
        if following is not None:
            steps.append((done | 1 << index, following))
    return steps[::-1]


def _only_looks(operation: Operation) -> bool:
    """Whether it changes nothing, wherever it takes effect. A write of what is there already may
    be needed later."""
    return operation.kind == "read" or (operation.kind == "cas" and not operation.result)


def _is_alive(operations: Sequence[Operation], done: int, value: int) -> bool:
    """Whether all values that results still call for can be had."""
    wanted: set[int] = set()
    to_be_had = {value}
    spare = 0  # additions of unknown outcome
    for index in range(_first_left(done), len(operations)):
        if done >> index & 1:
            continue
        operation = operations[index]
        known = operation.returned != NEVER
        arguments = operation.arguments
        match operation.kind:
            case "read":
                if known and operation.result is not None:
                    wanted.add(operation.result)
            case "write":
                to_be_had.add(arguments[0])
            case "cas":
                if not known or operation.result:
                    to_be_had.add(arguments[1])
                if known and operation.result:
                    wanted.add(arguments[0])
            case _:
                if known and operation.result is not None:
                    wanted.add(operation.result - arguments[0])
                    to_be_had.add(operation.result)
                else:
                    spare += arguments[0]
    missing = wanted - to_be_had
    return all(any(0 < one - low <= spare for low in to_be_had) for one in missing)


def _first_left(done: int) -> int:
    """The lowest bit that is not set."""
    return (~done & (done + 1)).bit_length() - 1


def _next(operations: Sequence[Operation], done: int) -> list[int]:
    """Those that may take effect next: called before any other that is left has returned.

    In the order of their places, then of their returns: most likely they happened so.
    """
    first_return = NEVER
    candidates = []
    for index in range(_first_left(done), len(operations)):
        if done >> index & 1:
            continue
        operation = operations[index]
        if operation.called > first_return:
            break
        first_return = min(first_return, operation.returned)
        candidates.append(index)
    candidates = [i for i in candidates if operations[i].called <= first_return]
    return sorted(candidates, key=lambda i: (operations[i].place, operations[i].returned))
