"""How worker processes end: the statuses of their own, and what any status says, in words."""

from __future__ import annotations

import signal

EXIT_CONNECTION_CLOSED = 113
"""How a worker process exits on finding that user code closed its connection."""

EXIT_NOT_ALONE = 114
"""How a template exits on finding that it has other threads."""

EXIT_NOT_BORN = 115
"""How a worker exits that could not begin; it has written why to its file for errors."""

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
