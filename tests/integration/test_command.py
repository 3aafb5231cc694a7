"""The command ``map-reduce``, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

COMMAND = [sys.executable, "-m", "map_reduce"]

JOBS = """
import helper

def words(number, line):
    return [(helper.clean(word), 1) for word in line.split()]

def total(word, counts):
    return sum(counts)
"""

HELPER = """
def clean(word):
    return word.strip(".,").lower()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "text.txt").write_text("One two, two.\nThree three THREE\n")
    return tmp_path


def call(*arguments, folder=None, timeout=60):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=timeout,
        check=False,
    )


def test_run_counts_words_with_functions_of_a_file_and_of_a_module(folder):
    for where in ("jobs.py", "jobs"):
        done = call("run", "text.txt", "--map", f"{where}:words", "--reduce", f"{where}:total",
                    "--combine", f"{where}:total", folder=folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert sorted(done.stdout.splitlines()) == ["one\t1", "three\t3", "two\t2"]


def test_run_sorts(folder):
    arguments = ["--map", "jobs.py:words", "--reduce", "count", "--sort"]
    done = call("run", "text.txt", *arguments, folder=folder)
    assert (done.returncode, done.stdout) == (0, "one\t1\nthree\t3\ntwo\t2\n"), done.stderr


def test_run_sorts_values(folder):
    (folder / "visits.txt").write_text("ann 12\nbob 7\nann 3\nann 25\n")
    (folder / "visits.py").write_text(
        "def visits(at, line):\n"
        "    return [tuple(line.split())]\n"
        "def hour(text):\n"
        "    return int(text)\n"
    )
    arguments = ["--map", "visits.py:visits", "--reduce", "collect", "--sort", "--sort-values"]
    done = call("run", "visits.txt", *arguments, "visits.py:hour", folder=folder)
    assert (done.returncode, done.stdout) == (0, "ann\t['3', '12', '25']\nbob\t['7']\n"), (
        done.stderr
    )
    done = call("run", "visits.txt", *arguments, folder=folder)
    assert (done.returncode, done.stdout) == (0, "ann\t['12', '25', '3']\nbob\t['7']\n"), (
        done.stderr
    )


def test_run_leaves_out_bad_records_and_tells_what_was_counted(folder):
    (folder / "numbers.txt").write_text("1\n2\nthree\n4\n")
    (folder / "sums.py").write_text(
        "from map_reduce import counter\n"
        "def number(at, line):\n"
        "    counter('lines').add()\n"
        "    return [('sum', int(line))]\n"
        "def total(key, values):\n"
        "    return sum(values)\n"
    )
    arguments = ["run", "numbers.txt", "--map", "sums.py:number", "--reduce", "sums.py:total"]
    done = call(*arguments, "--on-bad-record", "skip:1", "--task-timeout", "30", "--no-backups",
                folder=folder)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "sum\t7\n"), done.stderr
    assert "map-reduce: lines: 3\n" in done.stderr
    assert "map-reduce: 1 bad records and keys were left out:\n" in done.stderr
    assert "numbers.txt: 'three': ValueError: invalid literal" in done.stderr
    done = call(*arguments, folder=folder)
    assert done.returncode == 1
    assert "line 2 of" in done.stderr
    done = call(*arguments, "--on-bad-record", "maybe", folder=folder)
    assert done.returncode == 2
    assert "it may be 'fail', 'skip:10' (up to ten) or 'skip:1%'" in done.stderr


def test_run_writes_json(folder):
    done = call("run", "text.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total", "--json",
                folder=folder)  # fmt: skip
    assert sorted(map(json.loads, done.stdout.splitlines())) == [
        ["one", 1],
        ["three", 3],
        ["two", 2],
    ]


def test_run_saves_files_in_a_folder_that_is_empty(folder):
    arguments = ["run", "text.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total",
                 "--output", "out/counts", "--format", "csv"]  # fmt: skip
    done = call(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    [path] = (folder / "out" / "counts").iterdir()
    assert path.name == "part-00000.csv"
    assert sorted(path.read_text().splitlines()) == ["one,1", "three,3", "two,2"]
    done = call(*arguments, folder=folder)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert "node" not in done.stderr  # none was begun


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["run", "absent.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total"],
            "absent.txt",
        ),
        (["run", "text.txt", "--map", "jobs.py:none", "--reduce", "jobs.py:total"], "'none'"),
        (["run", "text.txt", "--map", "gone.py:words", "--reduce", "jobs.py:total"], "gone.py"),
        (["run", "text.txt", "--map", "words", "--reduce", "jobs.py:total"], "FILE.py:NAME"),
        (
            ["run", "text.txt", "--map", "helper.py:__doc__", "--reduce", "jobs.py:total"],
            "function",
        ),
        (["status", "--address", "nonsense"], "HOST:PORT"),
        (["status"], "map-reduce cluster"),
        (["ring"], "map-reduce cluster"),
        (["stop"], "no cluster"),
        (["cluster", "--nodes", "0"], "at least one"),
        (["node", "--host", "0.0.0.0"], "certificates"),
        (["node", "--slots", "0"], "MR_SLOTS"),
    ],
)
def test_mistakes_are_answered_in_a_line(folder, arguments, says):
    done = call(*arguments, folder=folder)
    assert done.returncode in (1, 2)
    lines = done.stderr.strip().splitlines()
    assert says in lines[-1]
    assert lines[-1].startswith("map-reduce: ")
    assert "Traceback" not in done.stderr
    assert len(lines) == (2 if "no cluster, so" in lines[0] else 1)


def test_a_cluster_in_the_background(folder):
    started = call("cluster", "--nodes", "2", "--detach")
    assert started.returncode == 0, started.stderr
    try:
        status = json.loads(call("status", "--json").stdout)
        assert len(status["nodes"]) == 2
        assert {"address", "pid", "id"} <= set(status["nodes"][0])
        assert status["jobs"] == []
        assert "2 nodes" in call("status").stdout
        ring = call("ring")
        assert ring.returncode == 0, ring.stdout
        assert "R1 R2 R3 R4 R5 hold" in ring.stdout
        assert all(node["address"] in ring.stdout for node in status["nodes"])
        run = ("run", "text.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total")
        done = call(*run, folder=folder)
        assert sorted(done.stdout.splitlines()) == ["one\t1", "three\t3", "two\t2"]
        assert "using the cluster" in done.stderr
    finally:
        stopped = call("stop")
    assert stopped.stdout == "stopped 2 nodes\n"
    assert not any(psutil.pid_exists(node["pid"]) for node in status["nodes"])
    assert call("status").returncode == 1


def test_a_cluster_file_of_a_dead_cluster_is_no_obstacle(folder):
    path = os.environ["MAP_REDUCE_CLUSTER_FILE"]
    content = {"cluster_id": "gone", "addresses": ["127.0.0.1:9"], "pid": 1}
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        json.dump(content, file)
    try:
        done = call("run", "text.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total",
                    folder=folder)  # fmt: skip
        assert done.returncode == 0
        assert "nobody answers there" in done.stderr
    finally:
        os.unlink(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_in_the_foreground_ends_with_all_its_nodes(number):
    with subprocess.Popen(
        [*COMMAND, "cluster", "--nodes", "2"], stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        for line in cluster.stdout:
            if "a ring of 2 is up" in line:
                break
        family = psutil.Process(cluster.pid).children(recursive=True)
        assert len(family) >= 2
        cluster.send_signal(number)
        cluster.wait(10)
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        assert cluster.returncode == 0


def test_a_foreground_cluster_that_is_killed_takes_its_nodes_along():
    with subprocess.Popen(
        [*COMMAND, "cluster", "--nodes", "2"], stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        for line in cluster.stdout:
            if "a ring of 2 is up" in line:
                break
        family = psutil.Process(cluster.pid).children(recursive=True)
        cluster.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
    os.unlink(os.environ["MAP_REDUCE_CLUSTER_FILE"])  # which nobody was left to remove


INTERRUPTED = """
import sys, time
from map_reduce import ServerInterface

def slow(number, item):
    print("mapping", flush=True)
    time.sleep(600)

server = ServerInterface(slots=2, quiet=True)
job = server.startup(list(range(64)), slow, len)
server.await_results()
"""


def test_ctrl_c_ends_a_script_with_all_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("mapping")  # or both workers in one line
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        timer = threading.Timer(10, process.kill)
        timer.start()
        process.send_signal(signal.SIGINT)
        text = process.stderr.read()
        process.wait()
        timer.cancel()
        assert process.returncode in (1, -signal.SIGINT)
        assert text.rstrip().endswith("KeyboardInterrupt")
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def test_a_second_cluster_does_not_take_the_place_of_the_first():
    assert call("cluster", "--nodes", "1", "--detach").returncode == 0
    try:
        for arguments in (["--detach"], []):
            second = call("cluster", "--nodes", "1", *arguments)
            assert second.returncode == 2
            assert "runs already" in second.stderr
    finally:
        assert call("stop").stdout == "stopped 1 node\n"


def test_a_cluster_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAP_REDUCE_CLUSTER_FILE", str(tmp_path / "file" / "cluster.json"))
    done = call("cluster", "--nodes", "1", "--detach")
    assert done.returncode == 2
    assert "MAP_REDUCE_CLUSTER_FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_that_cannot_be_written_is_one_line(folder):
    command = [*COMMAND, "run", "text.txt", "--map", "jobs.py:words", "--reduce", "jobs.py:total"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
