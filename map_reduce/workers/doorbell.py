"""What wakes the thread of a slot."""

from __future__ import annotations

import contextlib
import os


class Doorbell:
    """A pipe that wakes a thread out of its poll. Ringing never waits."""

    def __init__(self) -> None:
        self._hear, self._ring = os.pipe()
        os.set_blocking(self._hear, False)
        os.set_blocking(self._ring, False)

    def fileno(self) -> int:
        return self._hear

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it has been rung often enough
            os.write(self._ring, b"!")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._hear, 1 << 16)

    def close(self) -> None:
        os.close(self._hear)
        os.close(self._ring)
