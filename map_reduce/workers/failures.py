"""The outcomes of attempts that did not come to an end of their own, in words.

They read like those that ``execution/failures.py`` writes: what happened, and below it where.
"""

from __future__ import annotations

import signal
import traceback

from map_reduce.core.messages import AttemptId, Failed, Failure, StartAttempt
from map_reduce.errors import (
    JobError,
    MapReduceError,
    TaskTimeoutError,
    UserCodeError,
    WorkerDiedError,
)
from map_reduce.execution.failures import on, sendable
from map_reduce.workers.protocol import EXIT_CONNECTION_CLOSED

_SIGNALS = {
    signal.SIGKILL: "killed by SIGKILL, which is what the kernel does when memory runs out",
    signal.SIGSEGV: "crashed with SIGSEGV, a fault in native code (an extension module, ctypes)",
    signal.SIGBUS: "crashed with SIGBUS, a fault in native code, or a mapped file that shrank",
    signal.SIGABRT: "aborted with SIGABRT, as native code does on finding itself broken",
    signal.SIGFPE: "crashed with SIGFPE, an arithmetic fault in native code",
    signal.SIGILL: "crashed with SIGILL: native code that was built for another processor",
}


def exit_in_words(status: int) -> str:
    """What an exit status, as ``Popen.returncode`` has it, says about how a process ended."""
    if status == EXIT_CONNECTION_CLOSED:
        return "the task closed file descriptors that it had not opened, the process's own"
    if status >= 0:
        return f"exited with status {status}, as os._exit({status}) does"
    if -status in _SIGNALS:
        return _SIGNALS[signal.Signals(-status)]
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def place_in_words(exact: str, current: str, records: int) -> str:
    """Where an attempt was, from its exact note, else from what it last reported."""
    if exact:
        return f"at {exact}"
    if current:
        return f"near {current}"
    if records:
        return f"after about {records} records"
    return ""


def timed_out(order: StartAttempt, node: str, place: str) -> Failed:
    """It ran past the limit and was killed."""
    return _failed(
        TaskTimeoutError,
        f"still running after {order.timeout_s:g} s, and ended for that",
        place,
        on(node, order.attempt),
        "if its work takes that long, raise MAX_TASK_TIMEOUT "
        "(environment variable MR_MAX_TASK_TIMEOUT, in seconds)",
    )


def died(order: StartAttempt, node: str, how: str, place: str) -> Failed:
    """Its process is gone; ``how`` says what is known of that."""
    what = f"the worker process ended: {how}"
    return _failed(WorkerDiedError, what, place, on(node, order.attempt), retry=True)


def not_started(order: StartAttempt, node: str, tries: int, why: str) -> Failed:
    """There is no process to run it in."""
    what = f"worker processes do not start ({tries} tries): {why}"
    return _failed(JobError, what, on(node, order.attempt), retry=True)


def escaped(error: BaseException, attempt: AttemptId, node: str) -> Failed:
    """What an exception means that came out of an attempt instead of an outcome."""
    where = on(node, attempt)
    if isinstance(error, MapReduceError):
        return _failed(type(error), str(error), where)
    if not isinstance(error, Exception):
        what = f"user code raised {type(error).__name__}({error}), which ends programs, not tasks"
        return _failed(UserCodeError, what, where)
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _failed(JobError, "an error in map-reduce itself", where, told, retry=True)


def _failed(kind: type[Exception], what: str, *where: str, retry: bool = False) -> Failed:
    lines = [what, *(f"  {line}" for line in where if line)]
    return Failed(Failure(kind.__name__, sendable("\n".join(lines))), retry=retry)
