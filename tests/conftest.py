"""What every test gets without asking: a place of its own, and a look at what it leaves behind.

Each test runs with a temporary folder and a cluster file that belong to this run of the suite, and
without the settings of the shell it was started from. Afterwards nothing new may be left:

- processes: children, theirs, and detached ones (known by their environment);
- threads that keep Python from ending, or that are the library's or Pyro4's;
- sockets of this process;
- temporary files and folders of the library;
- the cluster file.

Ends may take a moment, so the look is repeated until it finds nothing, or LEFTOVER_WAIT_S is over.

When to look: after each test, except where tests share something that lives longer, such as a ring
of the whole module. What that starts and ends while a test runs is not the test's doing, so there
the look is taken when the shared thing should be gone: after the module, or at the very end. Tests
that share something with the whole session run last, so that it is in no other test's way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

LEFTOVER_WAIT_S = 5.0
POLL_S = 0.02
TEMP_PREFIX = "map-reduce-"
LIBRARY_THREADS = ("map_reduce", "map-reduce", "Pyro-Worker")
SHARED_NODES = {"server", "ring_of", "local_cluster"}
"""Fixtures of the session that are nodes. In a test that uses them they may start threads and
worker processes as they need them; what is left of those is looked at when the session ends."""

MARK = "MAP_REDUCE_TEST_RUN"
"""Environment variable by which processes started by this run are known, whoever their parent."""

settings.register_profile(
    "quick",
    deadline=None,
    derandomize=False,
    print_blob=True,  # a failure prints the line that replays it
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the test's
)
settings.register_profile("brief", settings.get_profile("quick"), max_examples=20)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@dataclass(frozen=True)
class Traces:
    """What is there at one moment that a test could leave behind."""

    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    sockets: frozenset[str]
    files: frozenset[str]

    @classmethod
    def seen(cls) -> Traces:
        return cls(_processes(), _threads(), _sockets(), _files())

    def since(self, before: Traces) -> Traces:
        return Traces(
            self.processes - before.processes,
            self.threads - before.threads,
            self.sockets - before.sockets,
            self.files - before.files,
        )

    def __bool__(self) -> bool:
        return bool(self.processes or self.threads or self.sockets or self.files)

    def describe(self) -> str:
        lines = [f"process {pid}: {_command(pid)}" for pid in sorted(self.processes)]
        lines += [f"thread {thread.name}" for thread in self.threads]
        lines += [f"socket {name}" for name in sorted(self.sockets)]
        lines += [f"file {path}" for path in sorted(self.files)]
        return "\n  ".join(lines)


def _processes() -> frozenset[int]:
    """Everything below this process, and whatever else carries the run's mark."""
    found = {child.pid for child in psutil.Process().children(recursive=True)}
    found |= _marked_processes()
    return frozenset(pid for pid in found if not _is_python_helper(pid))


def _marked_processes() -> set[int]:
    mark = f"{MARK}={os.environ[MARK]}\0".encode()
    found = set()
    # The environment of another process can be read in this way on Linux alone.
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.isdigit() and int(entry) != os.getpid() and int(entry) not in _unmarked:
            try:
                environment = Path("/proc", entry, "environ").read_bytes() + b"\0"
            except OSError:  # gone meanwhile, or another user's
                continue
            if mark in environment:
                found.add(int(entry))
    return found


_unmarked: frozenset[int] = frozenset(psutil.pids()) - {os.getpid()}
"""Processes older than this run: never ours, so never looked at."""


def _is_python_helper(pid: int) -> bool:
    """multiprocessing's resource tracker, which lives as long as this process, by design."""
    return "multiprocessing.resource_tracker" in _command(pid)


def _command(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{' '.join(process.cmdline()) or process.name()} ({process.status()})"
    except psutil.Error:
        return "(ended)"


def _threads() -> frozenset[threading.Thread]:
    return frozenset(
        thread
        for thread in threading.enumerate()
        if not thread.daemon or thread.name.startswith(LIBRARY_THREADS)
    )


def _sockets() -> frozenset[str]:
    descriptors = "/proc/self/fd"
    if not os.path.isdir(descriptors):
        return frozenset(
            f"{end.fd}: {end.laddr} -> {end.raddr}"
            for end in psutil.Process().net_connections("all")
        )
    found = set()
    for entry in os.listdir(descriptors):
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            target = os.readlink(f"{descriptors}/{entry}")
            if target.startswith("socket:"):
                found.add(f"{target} (descriptor {entry})")
    return frozenset(found)


def _files() -> frozenset[str]:
    folder = tempfile.gettempdir()
    found = {f"{folder}/{name}" for name in os.listdir(folder) if name.startswith(TEMP_PREFIX)}
    if os.path.exists(cluster_file := os.environ["MAP_REDUCE_CLUSTER_FILE"]):
        found.add(cluster_file)
    return frozenset(found)


def _leftover(before: Traces) -> Traces:
    """What is there beyond ``before`` even after a while; empty as soon as there is nothing."""
    deadline = time.monotonic() + LEFTOVER_WAIT_S
    pause = threading.Event()
    while (left := Traces.seen().since(before)) and time.monotonic() < deadline:
        pause.wait(POLL_S)
    return left


def _put_away(left: Traces) -> None:
    """So that one test's leftovers are not in the way of the next, nor reported again."""
    for pid in left.processes:
        with contextlib.suppress(psutil.Error):  # ended by itself, or with its parent
            psutil.Process(pid).kill()
    for path in left.files:
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


@contextlib.contextmanager
def nothing_left_behind(what: str) -> Iterator[None]:
    """Fail where what happened inside has left something."""
    before = Traces.seen()
    yield
    if left := _leftover(before):
        description = left.describe()
        _put_away(left)
        pytest.fail(f"{what} left behind:\n  {description}", pytrace=False)


def _forget_settings(patch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("MR_") or name == "MAP_REDUCE_ADDRESS":
            patch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder, a cluster file and a token of this run's own."""
    folder = tmp_path_factory.mktemp("temp")
    with pytest.MonkeyPatch.context() as patch:
        _forget_settings(patch)
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("MAP_REDUCE_CLUSTER_FILE", str(folder / "cluster.json"))
        patch.setenv("MAP_REDUCE_TOKEN_FILE", str(folder / "token"))
        patch.setenv(MARK, f"{os.getpid()}-{time.time_ns()}")
        with nothing_left_behind("the suite, with the fixtures that tests share,"):
            yield folder


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count()


OWN_FIXTURES = ("own_surroundings", "_numbers", "module_leaves_nothing_behind")


def _shared_for(item: pytest.Item) -> str:
    """The widest scope of what the test shares with others: "session", "module" or "" for none."""
    info = getattr(item, "_fixtureinfo", None)  # pytest has no public way to ask before it runs
    scopes = {
        definitions[-1].scope
        for name, definitions in (info.name2fixturedefs if info else {}).items()
        if name not in OWN_FIXTURES and definitions[-1].baseid  # pytest's and plugins' have none
    }
    if scopes & {"session", "package"}:
        return "session"
    return "module" if scopes & {"module", "class"} else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _shared_for(item) == "session")
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            # Shared out by file, and what shares something with the session still comes last.
            last = "-last" if _shared_for(item) == "session" else ""
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}{last}"))


@pytest.fixture(scope="module", autouse=True)
def module_leaves_nothing_behind(
    request: pytest.FixtureRequest, own_surroundings: Path
) -> Iterator[None]:
    """The look after a module, for what its tests share."""
    mine = {_shared_for(item) for item in request.session.items if item.path == request.path}
    if "session" in mine:
        yield
    else:
        with nothing_left_behind(request.path.name):
            yield


@pytest.fixture(autouse=True)
def leaves_nothing_behind(
    request: pytest.FixtureRequest, own_surroundings: Path, _numbers: Iterator[int]
) -> Iterator[None]:
    """A cluster file of the test's own, no settings from outside, and the look after the test."""
    with pytest.MonkeyPatch.context() as patch:
        _forget_settings(patch)
        cluster_file = own_surroundings / f"cluster-{next(_numbers)}.json"
        patch.setenv("MAP_REDUCE_CLUSTER_FILE", str(cluster_file))
        if _shared_for(request.node):
            yield
        else:
            with nothing_left_behind(request.node.name):
                yield
