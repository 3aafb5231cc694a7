"""What is done to containers, how it is undone, and whether it took hold.

What concerns the network is done in a container's own network namespace by the tools of this
machine (``nsenter``, ``iptables``, ``tc``), and takes root. ``netem`` is not used: not every kernel
has it. A slow link is a token bucket on both of its ends, a lossy one drops packets at random in
both directions.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from container_cluster import Container, docker

LINK_KBIT_PER_S = 4000
LOSS = 0.30
CPUS = 0.1
MEMORY_STEP_BYTES, MEMORY_STEPS_MAX = 2 << 20, 40
MEMORY_WHOLE = "64g"
FILLER, FILLING = "/data/filler", "/tmp/filling"


@dataclass(frozen=True)
class Fault:
    """Something that can be done to a container.

    Attributes:
        took_hold: how it shows that it was done to it, "" where it does not; asked before
            it is undone.
        setup: options of ``docker create`` without which it can't be done.
    """

    what: str
    hurt: Callable[[Container], object]
    heal: Callable[[Container], object]
    took_hold: Callable[[Container], str]
    setup: str = ""


def tool(*command: str, check: bool = True) -> str:
    """What a program of this machine prints. Raises AssertionError: it failed, and ``check``."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def state(one: Container, what: str) -> str:
    return docker("inspect", "--format", f"{{{{.State.{what}}}}}", one.name)


def within(one: Container, *command: str, check: bool = True) -> str:
    """A program of this machine in the container's network."""
    return tool("nsenter", "-t", state(one, "Pid"), "-n", *command, check=check)


def cgroup(one: Container, controller: str, file: str) -> Path:
    """A file of its control group, of either version."""
    pid = state(one, "Pid")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = Path("/sys/fs/cgroup")
        elif controller in controllers.split(","):
            root = Path("/sys/fs/cgroup", controller)
        else:
            continue
        found = Path(f"{root}{path}", file)
        if found.exists():
            return found
    raise AssertionError(f"{one.name} has no {controller} {file}")


# ------------------------------------------------------------------ its processes


def kill(one: Container) -> None:
    docker("kill", "-s", "KILL", one.name)


def start(one: Container) -> None:
    docker("start", one.name)


def killed(one: Container) -> str:
    return "dead" if state(one, "Running") == "false" else ""


def throttle(one: Container) -> None:
    docker("update", "--cpus", str(CPUS), one.name)


def unthrottle(one: Container) -> None:
    docker("update", "--cpus", "64", one.name, check=False)
    # More than the machine has may be refused; then as many as it has.
    cpus = docker("info", "--format", "{{.NCPU}}")
    docker("update", "--cpus", cpus, one.name)


def throttled(one: Container) -> str:
    found = re.search(r"nr_throttled (\d+)", cgroup(one, "cpu", "cpu.stat").read_text())
    return f"held back {found[1]} times" if found and int(found[1]) else ""


def bound_memory(one: Container) -> None:
    """To what it cannot give up at this moment, so that what it needs next is too much.

    A bound below that is refused (version 1 of control groups), so bounds are tried upwards from
    what its processes hold; the kernel takes cached pages away meanwhile.
    """
    text = cgroup(one, "memory", "memory.stat").read_text()
    found = re.search(r"^total_rss (\d+)$", text, re.MULTILINE)
    assert found, f"memory.stat of {one.name} does not tell what its processes hold"
    for step in range(MEMORY_STEPS_MAX):
        bound = str(int(found[1]) + step * MEMORY_STEP_BYTES)
        told = docker("update", "--memory", bound, "--memory-swap", bound, one.name, check=False)
        if told == one.name:
            return
    raise AssertionError(f"{one.name} grows faster than its memory can be bounded")


def unbound_memory(one: Container) -> None:
    docker("update", "--memory", MEMORY_WHOLE, "--memory-swap", MEMORY_WHOLE, one.name)
    if state(one, "Running") == "false":
        start(one)


def ran_out(one: Container) -> str:
    if state(one, "Running") == "false":
        return "the node died" if state(one, "OOMKilled") == "true" else ""
    text = cgroup(one, "memory", "memory.oom_control").read_text()
    found = re.search(r"oom_kill (\d+)", text)
    return f"{found[1]} workers died" if found and int(found[1]) else ""


# ------------------------------------------------------------------ its disk


def fill_disk(one: Container) -> None:
    """As the node's user, until nothing more fits, and again whenever something was deleted."""
    write = f"cat /dev/zero >>{FILLER} 2>/dev/null"
    fill = f"while [ -e {FILLING} ]; do {write}; sleep 0.2; done; rm -f {FILLER}"
    docker("exec", one.name, "sh", "-c", f"touch {FILLING}; {write}; true")
    docker("exec", "--detach", one.name, "sh", "-c", fill)


def empty_disk(one: Container) -> None:
    """And restart it, as its log asks for: who could not write a record keeps none any more."""
    docker("exec", one.name, "rm", "-f", FILLING)
    docker("restart", "--time", "30", one.name)


def disk_full(one: Container) -> str:
    used = docker("exec", one.name, "df", "--output=pcent", "/data").split()[-1]
    return "100 % used" if used == "100%" else ""


# ------------------------------------------------------------------ its network


def disconnect(one: Container) -> None:
    docker("network", "disconnect", one.network, one.name)


def connect(one: Container) -> None:
    docker("network", "connect", "--ip", one.host, one.network, one.name)


def disconnected(one: Container) -> str:
    text = docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", one.name)
    return "" if f'"{one.network}"' in text else "off the network"


def slow_down(one: Container) -> None:
    rate = ("tbf", "rate", f"{LINK_KBIT_PER_S}kbit", "burst", "32kbit", "latency", "400ms")
    within(one, "tc", "qdisc", "replace", "dev", "eth0", "root", *rate)
    tool("tc", "qdisc", "replace", "dev", _other_end(one), "root", *rate)


def speed_up(one: Container) -> None:
    within(one, "tc", "qdisc", "del", "dev", "eth0", "root")
    tool("tc", "qdisc", "del", "dev", _other_end(one), "root")


def slowed_down(one: Container) -> str:
    text = within(one, "tc", "-s", "qdisc", "show", "dev", "eth0")
    found = re.search(r"overlimits (\d+)", text)
    return f"{found[1]} packets waited" if found and int(found[1]) else ""


def _other_end(one: Container) -> str:
    """The name of its link on this machine's side."""
    number = re.search(r"eth0@if(\d+)", within(one, "ip", "-o", "link", "show", "eth0"))
    assert number, f"{one.name} has no eth0"
    for line in tool("ip", "-o", "link").splitlines():
        if line.startswith(f"{number[1]}: "):
            return line.split()[1].partition("@")[0]
    raise AssertionError(f"the link of {one.name} has no other end here")


def _lossy(one: Container, action: str) -> None:
    drop = ("-m", "statistic", "--mode", "random", "--probability", str(LOSS), "-j", "DROP")
    within(one, "iptables", action, "INPUT", "-i", "eth0", *drop)
    within(one, "iptables", action, "OUTPUT", "-o", "eth0", *drop)


def lost(one: Container) -> str:
    text = within(one, "iptables", "-nvxL")
    counts = [
        int(line.split()[0]) for line in text.splitlines() if "DROP" in line and "stat" in line
    ]
    return f"{sum(counts)} packets lost" if any(counts) else ""


def cut(one_side: Sequence[Container], other_side: Sequence[Container], action: str = "-I") -> None:
    """Between any two of the two sides nothing passes any more; this machine reaches all."""
    for a in one_side:
        for b in other_side:
            for source, target in ((a, b), (b, a)):
                rule = ("-s", source.host, "-d", target.host, "-j", "DROP")
                tool("iptables", action, "DOCKER-USER", *rule)


def mend(one_side: Sequence[Container], other_side: Sequence[Container]) -> None:
    cut(one_side, other_side, "-D")


def packets_cut(one_side: Sequence[Container]) -> str:
    hosts = {one.host for one in one_side}
    count = 0
    for line in tool("iptables", "-nvxL", "DOCKER-USER").splitlines():
        if "DROP" in line and hosts & set(line.split()):
            count += int(line.split()[0])
    return f"{count} packets cut off" if count else ""


DATA_ON_TMPFS = "--tmpfs /data:size={size_mb}m,uid=1000,gid=1000,mode=700"

FAULTS = {
    "kill": Fault("killed", kill, start, killed),
    "pause": Fault(
        "paused",
        lambda one: docker("pause", one.name),
        lambda one: docker("unpause", one.name),
        lambda one: "frozen" if state(one, "Paused") == "true" else "",
    ),
    "disconnect": Fault("taken off the network", disconnect, connect, disconnected),
    "throttle": Fault(f"throttled to {CPUS:g} CPU", throttle, unthrottle, throttled),
    "memory": Fault("out of memory", bound_memory, unbound_memory, ran_out),
    "disk": Fault(
        "its disk full", fill_disk, empty_disk, disk_full, DATA_ON_TMPFS.format(size_mb=400)
    ),
    "slow": Fault(
        f"its link slow ({LINK_KBIT_PER_S / 1000:g} Mbit/s)", slow_down, speed_up, slowed_down
    ),
    "lossy": Fault(
        f"its link lossy ({LOSS:.0%})",
        lambda one: _lossy(one, "-I"),
        lambda one: _lossy(one, "-D"),
        lost,
    ),
}
