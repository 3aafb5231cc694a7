"""The outcomes of attempts that did not come to an end of their own, in words."""

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
        return f" at {exact}"
    if current:
        return f" near {current}"
    if records:
        return f" after about {records} records"
    return ""


def _who(attempt: AttemptId, node: str) -> str:
    return f"{attempt}, on node {node}"


def timed_out(order: StartAttempt, node: str, place: str) -> Failed:
    return _failed(
        TaskTimeoutError,
        f"{_who(order.attempt, node)}: still running{place} after {order.timeout_s:g} s, "
        "and was ended. If its work really takes longer, raise MAX_TASK_TIMEOUT "
        "(environment variable MR_MAX_TASK_TIMEOUT, in seconds)",
        retry=False,
    )


def died(order: StartAttempt, node: str, how: str, place: str) -> Failed:
    return _failed(
        WorkerDiedError,
        f"{_who(order.attempt, node)}: the worker process ended{place}: {how}",
        retry=True,
    )


def not_started(order: StartAttempt, node: str, tries: int, why: str) -> Failed:
    return _failed(
        JobError,
        f"{_who(order.attempt, node)}: worker processes do not start ({tries} tries): {why}",
        retry=True,
    )


def broken(order: StartAttempt, node: str, what: str) -> Failed:
    return _failed(JobError, f"{_who(order.attempt, node)}: {what}", retry=True)


def escaped(error: BaseException, attempt: AttemptId, node: str) -> Failed:
    """What an exception means that came out of an attempt instead of an outcome."""
    if isinstance(error, MapReduceError):
        return _failed(type(error), str(error), retry=False)
    if not isinstance(error, Exception):
        what = f"user code raised {type(error).__name__}({error}), which ends programs, not tasks"
        return _failed(UserCodeError, f"{_who(attempt, node)}: {what}", retry=False)
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _failed(JobError, f"{_who(attempt, node)}: unexpectedly\n{told}", retry=True)


def without_surrogates(text: str) -> str:
    """The text as it can be sent: with ``?`` for what is not Unicode."""
    return text.encode("utf-8", "replace").decode()


def _failed(kind: type[Exception], message: str, *, retry: bool) -> Failed:
    return Failed(Failure(kind.__name__, without_surrogates(message)), retry=retry)
