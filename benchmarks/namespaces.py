"""A small network of this machine alone: namespaces behind a switch, links as slow as one likes.

    client ──┐
    node 1 ──┤ switch (a bridge in a namespace of its own)
    node 2 ──┘

Nothing of it can reach, or be reached from, anywhere else. Takes root, ``ip`` and ``tc``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence

SUBNET = "10.213.7"
COMMAND_S_MAX = 30.0
QUEUE_MS_MAX = 50
"""How long a packet waits at a slow link before it is dropped, as at a small switch."""

BURST_S = 0.001
BURST_BYTES_MIN = 16 * 1024


def tool(*command: str) -> str:
    """What a program prints. Raises RuntimeError: it failed; with what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """A namespace: its name, and its address in the network."""

    def __init__(self, prefix: str, number: int) -> None:
        self.name = f"{prefix}-{number}"
        self.switch = f"{prefix}-switch"
        self.port = f"port{number}"  # the switch's end of its link
        self.address = f"{SUBNET}.{number}"

    def command(self, *command: str) -> tuple[str, ...]:
        """To run a program there."""
        return ("ip", "netns", "exec", self.name, *command)

    def limit(self, mbit_per_s: float | None) -> None:
        """Let its link carry so much in each direction; None: what it can."""
        for namespace, device in ((self.name, "uplink"), (self.switch, self.port)):
            within = ("ip", "netns", "exec", namespace, "tc", "qdisc")
            if mbit_per_s is None:
                with contextlib.suppress(RuntimeError):  # it was not limited
                    tool(*within, "del", "dev", device, "root")
                continue
            burst = max(BURST_BYTES_MIN, int(mbit_per_s * 125_000 * BURST_S))
            rate = ("rate", f"{mbit_per_s:g}mbit", "burst", str(burst))
            queue = ("latency", f"{QUEUE_MS_MAX}ms")
            tool(*within, "replace", "dev", device, "root", "tbf", *rate, *queue)


@contextlib.contextmanager
def network(hosts: int) -> Iterator[Sequence[Host]]:
    """So many hosts that reach one another."""
    prefix = f"mr{os.getpid()}"
    switch = f"{prefix}-switch"
    made: list[str] = []
    try:
        tool("ip", "netns", "add", switch)
        made.append(switch)
        tool("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        tool("ip", "-n", switch, "link", "set", "bridge", "up")
        found = [Host(prefix, number + 1) for number in range(hosts)]
        for host in found:
            tool("ip", "netns", "add", host.name)
            made.append(host.name)
            there = ("peer", "name", host.port, "netns", switch)
            tool("ip", "link", "add", "name", "uplink", "netns", host.name, "type", "veth", *there)
            tool("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "uplink")
            for namespace, device in (
                (host.name, "lo"),
                (host.name, "uplink"),
                (switch, host.port),
            ):
                tool("ip", "-n", namespace, "link", "set", "dev", device, "up")
            tool("ip", "-n", switch, "link", "set", host.port, "master", "bridge")
        yield found
    finally:
        for name in made:
            tool("ip", "netns", "delete", name)
