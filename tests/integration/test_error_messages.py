"""Errors that a person understands: what happened, where, and what to do next."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from map_reduce import Files
from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.identifiers import Address
from map_reduce.errors import (
    BadKeyError,
    BadPairError,
    FunctionError,
    InputEncodingError,
    InputMissingError,
    InputTypeError,
    InputUnreadableError,
    JobCancelledError,
    JobError,
    JobTimeoutError,
    MapError,
    NoNodeError,
    PortTakenError,
    ReduceError,
    TaskTimeoutError,
    WorkerDiedError,
)
from map_reduce.server.configs import NodeConfig
from map_reduce.server.node import Node
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

WAIT_S = 60


def words(number, line):
    return [(word, 1) for word in line.split()]


def total(word, counts):
    return sum(counts)


def fails(server, error, *args, match=None, **kwargs):
    with pytest.raises(error, match=match) as caught:
        server.startup(*args, **kwargs).result(WAIT_S)
    return str(caught.value)


def test_functions_that_are_not_callable(server):
    assert "map" in fails(server, FunctionError, ["a"], 3, total, match="map must be a function")
    fails(server, FunctionError, ["a"], words, "sum", match="reduce must be a function")
    fails(server, FunctionError, ["a"], words, total, 5, match="combine must be a function")


def test_a_function_that_does_not_pickle_names_the_object(server):
    lock = threading.Lock()

    def guarded(number, line):
        with lock:
            return words(number, line)

    text = fails(server, FunctionError, ["a"], guarded, total)
    assert "'lock'" in text
    assert "map" in text


@pytest.mark.parametrize(
    ("map", "says"),
    [
        (lambda n, x: None, "None"),
        (lambda n, x: 5, "int"),
        (lambda n, x: [1, 2], "int"),
        (lambda n, x: ["ab"], "str"),
        (lambda n, x: [(1, 2, 3)], "3"),
    ],
    ids=["none", "not-iterable", "not-pairs", "strings", "triples"],
)
def test_a_map_that_gives_no_pairs(server, map, says):
    text = fails(server, BadPairError, ["a"], map, total)
    assert says in text
    assert "item 0" in text


def test_keys_that_cannot_be_grouped(server):
    text = fails(server, BadKeyError, ["a"], lambda n, x: [([n], 1)], total)
    assert "list" in text

    class Anonymous:
        pass

    text = fails(server, BadKeyError, ["a"], lambda n, x: [(Anonymous(), 1)], total)
    assert "Anonymous" in text


def test_an_exception_in_map_names_file_and_line(server, tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("1\n2\n0\n4\n")

    def invert(number, line):
        return [("sum", 1 / int(line))]

    text = fails(server, MapError, path, invert, total)
    fails(server, ZeroDivisionError, path, invert, total)  # it is also of its original type
    assert "division by zero" in text
    assert f"line 2 of {path}" in text
    assert "'0'" in text
    assert "node embedded" in text
    assert "attempt 1" in text
    assert "in invert" in text
    assert "map_reduce/execution" not in text


def test_an_exception_in_reduce_names_the_key(server):
    def refuse(key, values):
        raise LookupError(f"no {key} here")

    text = fails(server, ReduceError, ["a b"], words, refuse)
    assert "LookupError: no a here" in text
    assert "'a'" in text
    fails(server, LookupError, ["a b"], words, refuse)


def test_an_exception_of_the_users_own_class_comes_back_as_that_class(server):
    class Broken(Exception):
        def __init__(self, code):
            super().__init__(code)
            self.code = code

    def refuse(number, item):
        raise Broken(7)

    with pytest.raises(Broken) as caught:
        server.startup(["a"], refuse, total).result(WAIT_S)
    assert caught.value.original.code == 7


def test_sys_exit_is_an_error_of_the_function_not_of_the_worker(server):
    text = fails(server, MapError, ["a"], lambda n, x: exit(3), total)
    assert "SystemExit" in text


def test_input_that_is_missing_or_unreadable(server, tmp_path):
    absent = tmp_path / "absent.txt"
    assert str(absent) in fails(server, InputMissingError, absent, words, total)
    text = fails(server, InputMissingError, "just some text", words, total)
    assert "list" in text
    pattern = str(tmp_path / "*.log")
    assert pattern in fails(server, InputMissingError, pattern, words, total)
    assert "director" in fails(server, InputUnreadableError, tmp_path, words, total)


def test_input_of_no_use(server):
    for data in (None, 5, b"bytes"):
        fails(server, InputTypeError, data, words, total)


def test_a_damaged_archive(server, tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00 this is not gzip")
    assert str(path) in fails(server, InputUnreadableError, path, words, total)


def test_bytes_that_are_not_utf8_say_where_and_what_to_pass(server, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("früher\n".encode("latin-1"))
    text = fails(server, InputEncodingError, path, words, total)
    assert str(path) in text
    assert "2" in text
    assert "encoding=" in text
    job = server.startup(Files(path, encoding="latin-1"), words, total)
    assert job.result(WAIT_S) == {"früher": 1}
    job = server.startup(Files(path, errors="ignore"), words, total)
    assert job.result(WAIT_S) == {"frher": 1}


def test_no_node_answers(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NoNodeError, match=address):
        ServerInterface(address)


def test_somebody_who_never_answers():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(NoNodeError, match=address):
            ServerInterface(address)


def test_the_port_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port}"):
            Node(PyroTransport(credentials()), config=NodeConfig(port=port, slots=1))


def test_nothing_was_started(server):
    with (
        ServerInterface(slots=1, quiet=True) as fresh,
        pytest.raises(JobError, match="startup"),
    ):
        fresh.await_results()


def test_a_job_that_takes_longer_than_the_caller_waits(server):
    def slow(number, item):
        threading.Event().wait(30)
        return []

    job = server.startup(["a"], slow, total)
    with pytest.raises(JobTimeoutError, match="goes on"):
        job.result(0.05)
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.result(WAIT_S)
    assert job.state == "cancelled"


@pytest.fixture
def own_server(monkeypatch):
    """A node of one's own, for jobs that end worker processes; with a short task timeout."""
    monkeypatch.setenv("MR_MAX_TASK_TIMEOUT", "1")
    with ServerInterface(slots=1, quiet=True) as made:
        yield made


def test_a_task_that_runs_too_long(own_server):
    def stuck(number, item):
        if item == "c":
            threading.Event().wait(300)
        return [(item, 1)]

    text = fails(own_server, TaskTimeoutError, ["a", "b", "c"], stuck, total)
    assert "item 2" in text
    assert "MR_MAX_TASK_TIMEOUT" in text
    assert own_server.startup(["a"], words, total).result(WAIT_S) == {"a": 1}


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda: os._exit(5), "5"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    ],
    ids=["exit", "segfault", "killed"],
)
def test_a_record_that_ends_its_worker_process_is_named(own_server, end, says):
    def deadly(number, item):
        if item == "poison":
            end()
        return [(item, 1)]

    text = fails(own_server, WorkerDiedError, ["a", "b", "poison", "c"], deadly, total)
    assert says in text
    assert "item 2" in text
    assert own_server.startup(["a"], words, total).result(WAIT_S) == {"a": 1}


def test_out_of_memory_in_a_function(server):
    text = fails(server, MapError, ["a"], lambda n, x: [(x, bytearray(1 << 62))], total)
    assert "MemoryError" in text


def test_a_node_that_may_be_reached_from_elsewhere_is_refused():
    from map_reduce.errors import ConfigError

    with pytest.raises(ConfigError, match="certificates"):
        Node(PyroTransport(credentials()), config=NodeConfig(host="0.0.0.0", slots=1))
    assert not Address("0.0.0.0", 1).is_loopback
