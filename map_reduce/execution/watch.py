"""How much of an attempt's time is spent in the user's functions, seen from outside.

A thread looks now and then at what the main thread does (``sys._current_frames``), and counts the
time since its last look to what it sees. That costs the inner loops nothing, and is right in the
long run, like any sampling: of one second, twenty looks; the share of a few looks is a guess, and
who shows it should say of how much it was seen. A thread that waits for the interpreter's lock
looks late, once a long call into C has ended, and counts all of that call then.

What counts as the user's code is what our machinery calls, whatever that calls in turn. Of the
standard library only what user code calls does: that which we call (to unpack, to decode) is ours.
So is a built-in function that is given as map, reduce or combine: it leaves no frame.
"""

from __future__ import annotations

import os
import sysconfig
from types import FrameType

LOOK_INTERVAL_S = 0.05

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MACHINERY = tuple(os.path.join(_PACKAGE, part, "") for part in ("execution", "workers"))
_LIBRARY = os.path.join(sysconfig.get_path("stdlib"), "")
_INSTALLED = tuple(os.path.join(_LIBRARY, f"{who}-packages", "") for who in ("site", "dist"))


def in_user_code(frame: FrameType | None) -> bool:
    """Whether the frame, the innermost of its thread, is user code's or called by it."""
    callee: FrameType | None = None
    while frame is not None and not frame.f_code.co_filename.startswith(_MACHINERY):
        callee, frame = frame, frame.f_back
    if callee is None or frame is None:
        return False
    path = callee.f_code.co_filename
    library = path.startswith((_LIBRARY, "<frozen ")) and not path.startswith(_INSTALLED)
    return not library


class Watch:
    """Of one attempt. One thread looks, another may read at any time.

    Args:
        began_s: the time, by any clock that does not run backwards.
    """

    def __init__(self, began_s: float) -> None:
        self.watched_s = 0.0
        self.in_user_code_s = 0.0
        self._looked_s = began_s

    def look(self, frame: FrameType | None, now_s: float) -> None:
        """``frame`` is the innermost one of the thread that is watched."""
        passed_s = now_s - self._looked_s
        self._looked_s = now_s
        self.watched_s += passed_s
        if in_user_code(frame):
            self.in_user_code_s += passed_s
