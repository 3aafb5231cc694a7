"""What is said between a pool, its template and the slots (``workers/template.py`` draws it).

Over sockets that keep messages apart (SOCK_SEQPACKET); each is a letter, and a number in digits
where there is one.
"""

from __future__ import annotations

import contextlib
import os
import signal

FORK = b"F"
"""To the template, with four descriptors: a handle, and the worker's connection, lifeline and file
for errors."""
SERVING = b"S"
"""From the template: everything is imported."""
KILL = b"K"
"""On a handle, to the template."""
BORN = b"B"
"""On a handle, with the process's number."""
ENDED = b"E"
"""On a handle, with the exit status as ``Popen.returncode`` has it. The last word."""

SAID_BYTES_MAX = 32
DESCRIPTORS_PER_FORK = 4


def kill_group(leader: int) -> None:
    """Kill a process that has not been reaped, and all that stayed in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none left but zombies
        os.killpg(leader, signal.SIGKILL)
