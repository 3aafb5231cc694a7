"""Names of hosts as addresses, under a deadline.

The system's resolver cannot be told when to stop. So each name is looked up by a thread of its
own, at most one at a time for a name and LOOKUPS_MAX in all, and whoever needs the answer waits
for it until his own deadline. Answers are kept for KEPT_S. Addresses, and ``localhost``, are not
looked up at all.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable

KEPT_S = 10.0
LOOKUPS_MAX = 16
NAMES_KEPT_MAX = 1024

_LOCALHOST = ("127.0.0.1", "::1")

Lookup = Callable[[str], tuple[str, ...]]


class _Answer:
    """What a name stands for, once ``known`` is set: addresses, or why there are none."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.addresses: tuple[str, ...] = ()
        self.error: OSError | None = None
        self.at_s = 0.0


def ask_the_system(host: str) -> tuple[str, ...]:
    """The addresses of a name, in the system's order. Raises OSError. May take long."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Resolver:
    """Safe to use from many threads."""

    def __init__(self, look_up: Lookup = ask_the_system) -> None:
        self._look_up = look_up
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._looking = 0

    def addresses(self, host: str, deadline: float) -> tuple[str, ...]:
        """The addresses that a host may be reached at, best first.

        Raises:
            TimeoutError: not known before the deadline, or too many names are being looked up.
            OSError: there is no such name.
        """
        if host == "localhost":
            return _LOCALHOST
        if is_ip_address(host):
            return (host,)
        answer = self._answer(host)
        if not answer.known.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"looking up the name {host!r}: the time is up")
        if answer.error is not None:
            raise OSError(f"the name {host!r} has no address ({answer.error})")
        return answer.addresses

    def _answer(self, host: str) -> _Answer:
        with self._lock:
            answer = self._answers.get(host)
            if answer is not None and not self._is_old(answer):
                return answer
            if self._looking >= LOOKUPS_MAX:
                raise TimeoutError(f"{LOOKUPS_MAX} other names are being looked up")
            answer = _Answer()
            thread = threading.Thread(
                target=self._find, args=(host, answer), name="map_reduce lookup", daemon=True
            )
            thread.start()
            self._looking += 1
            self._answers.pop(host, None)
            self._answers[host] = answer
            if len(self._answers) > NAMES_KEPT_MAX:
                del self._answers[next(iter(self._answers))]
            return answer

    @staticmethod
    def _is_old(answer: _Answer) -> bool:
        return answer.known.is_set() and time.monotonic() - answer.at_s > KEPT_S

    def _find(self, host: str, answer: _Answer) -> None:
        try:
            answer.addresses = self._look_up(host)
        except (OSError, UnicodeError) as error:
            answer.error = error if isinstance(error, OSError) else OSError(str(error))
        finally:
            answer.at_s = time.monotonic()
            with self._lock:
                self._looking -= 1
            answer.known.set()


def is_ip_address(host: str) -> bool:
    """Whether the host is an address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
