"""The scripts' behaviour that needs no installation, and the pins against the metadata."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("demo", "test", "check", "bench", "lock", "simulate", "test_containers")
CONTAINER_SCRIPTS = (
    *("batch_run", "batch_kill", "batch_scale", "batch_tail", "run_client", "run_container"),
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$", re.MULTILINE)


def run(*command: object, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "VENV", "PYENV_ROOT")}
    return subprocess.run(
        [str(part) for part in command],
        env={**environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the scripts and what they read, and no environment yet."""
    clone = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    (clone / "map_reduce").mkdir()
    for name in ("pyproject.toml", "setup.py", "map_reduce/_kernel.c", "requirements.txt"):
        shutil.copy(ROOT / name, clone / name)
    shutil.copy(ROOT / "requirements-dev.txt", clone)
    return clone


def stand_in(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def lib(clone: Path, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "-c", f'. "{clone}/scripts/lib.sh"; {command}', **env)


@pytest.fixture
def prepared(clone: Path) -> Path:
    """The same, with an environment: this one."""
    folder = clone / ".venv/bin"
    folder.parent.mkdir()
    stand_in(folder, "python", f'exec "{sys.executable}" "$@"')
    stamp = 'stamp_of "$(environment_version)" >"$VENV/.installed-core"'
    assert lib(clone, stamp).returncode == 0
    return clone


@pytest.mark.parametrize(
    "path", [*(f"scripts/{name}" for name in (*SCRIPTS, *CONTAINER_SCRIPTS)), ".ci/run"]
)
def test_script_can_be_run_and_is_well_formed(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    assert run("bash", "-n", ROOT / path).stderr == ""


@pytest.mark.parametrize("name", [*SCRIPTS, *CONTAINER_SCRIPTS])
def test_help_tells_the_usage(name: str) -> None:
    result = run(ROOT / "scripts" / name, "--help")
    assert result.returncode == 0
    assert f"scripts/{name}" in result.stdout


@pytest.mark.parametrize("name", ["demo", "check", "bench", "lock"])
def test_unknown_argument_is_named(name: str) -> None:
    result = run(ROOT / "scripts" / name, "--nonsense")
    assert result.returncode == 1
    assert "--nonsense" in result.stderr


def test_python_that_does_not_run_is_named(clone: Path) -> None:
    result = run(clone / "scripts/demo", PYTHON="/nowhere/python3")
    assert result.returncode == 1
    assert "PYTHON=/nowhere/python3 does not run" in result.stderr
    assert not (clone / ".venv").exists()


def test_old_python_is_told_from_none(clone: Path) -> None:
    old = stand_in(clone / "bin", "python3", 'printf "old 3.8.10 /usr/bin/python3"')
    result = run(clone / "scripts/demo", PYTHON=str(old))
    assert result.returncode == 1
    assert "Python 3.8.10 is too old" in result.stderr
    assert "apt install python3" in result.stderr


def test_missing_ensurepip_names_the_package(clone: Path) -> None:
    broken = clone / "broken"
    broken.mkdir()
    (broken / "ensurepip.py").write_text("raise ImportError")
    command = f'PYTHONPATH="{broken}" exec "{sys.executable}" "$@"'
    bare = stand_in(clone / "bin", "python3", command)
    result = run(clone / "scripts/demo", PYTHON=str(bare))
    assert result.returncode == 1
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"python{minor}-venv" in result.stderr
    assert not (clone / ".venv").exists()


def test_stand_in_that_does_not_run_is_passed_over(clone: Path) -> None:
    """Version managers leave names in PATH that fail when run."""
    folder = clone / "bin"
    stand_in(folder, "python3", "exit 127")
    stand_in(folder, "python3.13", f'exec "{sys.executable}" "$@"')
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    result = lib(clone, 'find_python; echo "$FOUND_VERSION"', PATH=path)
    assert result.stdout.strip() == ".".join(map(str, sys.version_info[:3]))


def test_prepared_environment_is_left_alone(prepared: Path) -> None:
    """Neither pip nor a search for an interpreter: PATH has none, and there is no network."""
    assert lib(prepared, "prepare core").stderr == ""

    with (prepared / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert lib(prepared, "is_prepared core").returncode == 1


def test_seeds_of_a_simulator_are_named_and_counted(prepared: Path) -> None:
    command = prepared / "scripts/simulate", "--only", "jobs"
    result = run(*command, 3, 7, PYTHONPATH=str(ROOT))
    assert (result.returncode, result.stderr) == (0, "")
    first, *rest = result.stdout.splitlines()
    assert first.startswith("seeds from 7 on")
    assert rest == ["3 jobs", "no seed failed"]

    result = run(*command, 1, 0, "--mutant", "tell-the-end-at-once", PYTHONPATH=str(ROOT))
    assert result.returncode == 1
    again = "again: python -m map_reduce.simulation.jobs --seed 0 --mutant tell-the-end-at-once"
    assert again in result.stdout


def test_foreign_folder_is_not_deleted(clone: Path) -> None:
    precious = clone / ".venv/precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    result = run(clone / "scripts/demo", PYTHON=sys.executable)
    assert result.returncode == 1
    assert "was not made by these scripts" in result.stderr
    assert precious.read_text() == "mine"


def test_only_one_installs_at_a_time(clone: Path) -> None:
    """The second waits and says so; it goes on once the first has ended, however that ended."""
    take = f'FOUND_PYTHON="{sys.executable}"; take_lock; echo taken; '
    source = f'. "{clone}/scripts/lib.sh"; '
    with subprocess.Popen(
        ["bash", "-c", source + take + "read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "taken\n"
        with subprocess.Popen(
            ["bash", "-c", source + take],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as second:
            assert second.stderr is not None
            assert "Waiting" in second.stderr.readline()
            assert second.poll() is None
            first.kill()
            assert second.communicate(timeout=30)[0] == "taken\n"


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: Retrying after connection to https://index.example.com/simple/pip/",
        "HTTPSConnectionPool(host='index.example.com', port=443): Max retries exceeded",
        # pragma: allowlist nextline secret
        "Looking in indexes: https://user:secret@index.example.com/simple",
        "Could not resolve index.example.com",
    ],
)
def test_addresses_are_masked_in_what_a_failure_shows(clone: Path, line: str) -> None:
    shown = lib(clone, f'printf "%s\\n" "{line}" | mask_addresses').stdout
    assert "<address>" in shown
    assert "example" not in shown
    assert "secret" not in shown


def pins(name: str) -> dict[str, str]:
    return {key.lower(): value for key, value in PIN.findall((ROOT / name).read_text())}


UNPINNED = {"atheris", "pip-audit"}  # nothing fails without them: docs/decisions/0001


def test_requirements_pin_every_dependency_of_the_metadata() -> None:
    metadata = (ROOT / "pyproject.toml").read_text()
    core = metadata[metadata.index("\ndependencies = [") : metadata.index("\n[project.optional")]
    tools = metadata[metadata.index("\n[project.optional") : metadata.index("\n[project.scripts]")]
    named = re.compile(r'"([A-Za-z0-9._-]+)>=')
    assert {name.lower() for name in named.findall(core)} == set(pins("requirements.txt"))
    wanted = {name.lower() for name in named.findall(tools)} - UNPINNED
    assert wanted <= set(pins("requirements-dev.txt"))
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_name_no_index_and_tell_how_to_remake_them(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "scripts/lock" in text
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("how", ["processes", "counter"])
def test_yardstick_counts_right(tmp_path: Path, how: str) -> None:
    """The contender that all others are compared with agrees with a sequential count."""
    text = "the cat\r\nand the hat\n\nthé " * 50_000 + "no line end"
    (tmp_path / "text.txt").write_bytes(text.encode())
    count = (
        "import sys, json, reference;"
        "counts = getattr(reference, sys.argv[1])(sys.argv[2]);"
        "print(json.dumps(counts))"
    )
    function = {"processes": "count_in_processes", "counter": "count_with_counter"}[how]
    result = run(
        sys.executable, "-c", count, function, tmp_path / "text.txt",
        PYTHONPATH=str(ROOT / "benchmarks"),
    )  # fmt: skip
    assert result.stderr == ""
    assert json.loads(result.stdout) == Counter(text.split())


# ------------------------------------------------------------------ containers, without any


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name the cluster and the number of nodes"),
        (["server"], "name the cluster and the number of nodes"),
        (["server", "three"], "'three' is no number of nodes"),
        (["server", "0"], "'0' is no number of nodes"),
        (["server", "500"], "too many for one machine"),
        (["Server!", "3"], "'Server!' is no name of a cluster"),
        (["server", "3", "4"], "unexpected argument 4"),
        (["server", "3", "-dx"], "unknown option -x"),
        (["server", "3", "--memory"], "--memory needs a value"),
    ],
)
def test_batch_run_names_what_is_wrong_with_its_arguments(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = run(ROOT / "scripts/batch_run", *arguments, DOCKER=str(tmp_path / "none"))
    assert result.returncode == 1
    assert says in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["batch_run", "server", "3", "-dt"],
        ["batch_kill", "server"],
        ["batch_scale", "server", "5"],
        ["batch_tail", "server"],
        ["run_container", "server", "status"],
    ],
    ids=lambda command: command[0],
)
def test_without_an_engine_is_said_what_to_do(tmp_path: Path, command: list[str]) -> None:
    name, *arguments = command
    result = run(ROOT / "scripts" / name, *arguments, DOCKER=str(tmp_path / "none"))
    assert result.returncode == 1
    assert "there is no command" in result.stderr
    client = stand_in(tmp_path, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    result = run(ROOT / "scripts" / name, *arguments, DOCKER=str(client))
    assert result.returncode == 1
    assert "no Docker engine answers (Cannot connect" in result.stderr
    assert "map-reduce cluster --nodes 3" in result.stderr
