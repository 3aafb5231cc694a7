"""From a failure as data back to an exception."""

from __future__ import annotations

from map_reduce import errors
from map_reduce.client.shipping import unpickle
from map_reduce.core.messages import Failure


def error_of(failure: Failure) -> errors.MapReduceError:
    """The exception that a failure stands for, with the user's own where there is one."""
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.MapReduceError)):
        return errors.JobError(f"{failure.kind}: {failure.message}")
    if issubclass(kind, errors.UserCodeError):
        return errors.with_type_of(kind, failure.message, _original(failure))
    return kind(failure.message)


def _original(failure: Failure) -> BaseException | None:
    if not failure.exception:
        return None
    try:
        original = unpickle(failure.exception)
    except Exception:  # noqa: BLE001  # a user's class may do anything here; the text says it all
        return None
    return original if isinstance(original, BaseException) else None
