"""What every implementation of the ``WorkerPool`` port does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))

from worker_orders import (
    NODE,
    Ends,
    Gate,
    functions_of,
    order,
    process_pool,
    result_of,
    run,
    start,
    the_list,
    total,
    wait_for,
)

from map_reduce.core.messages import AttemptId, Checked, MapOutput, ReduceOutput
from map_reduce.errors import Refused
from map_reduce.ports import LocalInput, WorkerPool
from map_reduce.workers.inline import InlineWorkerPool

Make = Callable[[int], AbstractContextManager[WorkerPool]]


@contextmanager
def inline_pool(scratch: Path, slots: int) -> Iterator[InlineWorkerPool]:
    made = InlineWorkerPool(slots, scratch=scratch, node=NODE)
    try:
        yield made
    finally:
        made.close()
    assert list(scratch.iterdir()) == []


@pytest.fixture(params=["process", "inline"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    chosen = {"process": process_pool, "inline": inline_pool}[request.param]
    return lambda slots: chosen(scratch, slots)


@pytest.fixture
def pool(make: Make) -> Iterator[WorkerPool]:
    with make(1) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def way_on(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "way-on")


def pairs(index: int, item: Any) -> list[tuple[Any, int]]:
    return [(item, 1)]


def held(gate: Gate, way_on: Gate) -> Callable[[int, Any], list[tuple[str, str]]]:
    """A map that says at ``gate`` that it runs, then waits at ``way_on``."""
    here, there = gate.path, way_on.path

    def hold(index: int, item: Any) -> list[tuple[str, str]]:
        with open(here, "w") as file:
            file.write("running")
        with open(there) as file:
            return [("said", file.read())]

    return hold


def let_on(way_on: Gate) -> None:
    Path(way_on.path).write_text("go on")


def test_it_says_how_many_slots_it_has(make: Make) -> None:
    with make(3) as pool:
        assert pool.slots == 3


def test_a_whole_task_gives_its_result(pool: WorkerPool) -> None:
    words = ["a", "b", "a"]
    assert run(pool, lambda index, word: [(word, 1)], words, reduce=total) == {"a": 2, "b": 1}


def test_counts_are_those_of_the_attempt(pool: WorkerPool) -> None:
    outcome = start(pool, order(lambda index, item: [(item, 1)] * 2, [1, 2, 3])).outcome()
    assert isinstance(outcome, ReduceOutput)
    assert (outcome.counts.records_in, outcome.part.records) == (3, 3)


def test_a_map_output_is_a_file_that_the_callee_owns(pool: WorkerPool) -> None:
    large = "x" * (1 << 20)
    outcome, path = start(pool, order(lambda index, item: [(item, large)], [1], phase="map")).next()
    assert isinstance(outcome, MapOutput)
    assert isinstance(path, Path)
    assert path.stat().st_size == sum(outcome.sizes)
    path.unlink()


def test_a_small_map_output_may_come_as_bytes(pool: WorkerPool) -> None:
    outcome, made = start(pool, order(lambda index, item: [(item, 1)], [1], phase="map")).next()
    assert isinstance(outcome, MapOutput)
    if isinstance(made, Path):
        data = made.read_bytes()
        made.unlink()
    else:
        assert made is not None
        data = made
    assert len(data) == sum(outcome.sizes) > 0


def test_functions_may_come_in_a_file(pool: WorkerPool, tmp_path: Path) -> None:
    functions = functions_of(lambda index, item: [(item, index)])
    file = tmp_path / "functions"
    file.write_bytes(functions.inline)
    wanted = order(the_list, ["x"], functions=type(functions)(b"", None, functions.digest))
    assert result_of(start(pool, wanted, LocalInput(functions=file)).outcome()) == {"x": [0]}


def test_check_work_loads_the_functions(pool: WorkerPool) -> None:
    assert start(pool, order(the_list, [], phase="check")).outcome() == Checked()


def test_functions_that_do_not_unpickle_are_a_function_error(pool: WorkerPool) -> None:
    broken = type(functions_of(the_list))(b"no pickle", None, b"digest")
    failed = start(pool, order(the_list, [], phase="check", functions=broken)).failed()
    assert failed.failure.kind == "FunctionError"
    assert not failed.retry


def test_an_exception_of_user_code_is_an_outcome(pool: WorkerPool) -> None:
    failed = start(pool, order(lambda index, item: 1 // 0, [1])).failed()
    assert failed.failure.kind == "MapError"
    assert "ZeroDivisionError" in failed.failure.message
    assert NODE in failed.failure.message


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_that_ends_programs_ends_the_task_alone(
    pool: WorkerPool, kind: type[BaseException]
) -> None:
    def leave(index: int, item: Any) -> Any:
        raise kind(3)

    failed = start(pool, order(leave, [1])).failed()
    assert kind.__name__ in failed.failure.message
    assert not failed.retry
    assert run(pool, lambda index, item: [(item, 1)], [1]) == {1: [1]}


def test_more_attempts_than_slots_wait_their_turn(make: Make) -> None:
    with make(2) as pool:
        ends = [
            start(pool, order(lambda index, item: [(item, item)], [n], task=n)) for n in range(20)
        ]
        assert [result_of(end.outcome()) for end in ends] == [{n: [n]} for n in range(20)]
        assert pool.busy() == 0


def test_slots_run_at_the_same_time(make: Make, gate: Gate) -> None:
    path = gate.path

    def write(index: int, item: Any) -> list[tuple[str, str]]:
        with open(path, "w") as file:  # waits for a reader
            file.write("hello")
        return []

    def read(index: int, item: Any) -> list[tuple[str, str]]:
        with open(path) as file:  # waits for a writer
            return [("read", file.read())]

    with make(2) as pool:
        writer, reader = start(pool, order(write, [1])), start(pool, order(read, [1], task=1))
        assert result_of(reader.outcome()) == {"read": ["hello"]}
        assert result_of(writer.outcome()) == {}


def test_running_and_busy_show_what_is_under_way(
    pool: WorkerPool, gate: Gate, way_on: Gate
) -> None:
    assert (pool.running(), pool.busy()) == ((), 0)
    first = start(pool, order(held(gate, way_on), [1]))
    second = start(pool, order(lambda index, item: [], [1], task=1))
    gate.wait()
    assert [running.attempt for running in pool.running()] == [AttemptId("job", "whole", 0, 0)]
    assert pool.busy() == 2
    let_on(way_on)
    assert result_of(first.outcome()) == {"said": ["go on"]}
    second.outcome()
    wait_for(lambda: pool.busy() == 0)
    assert pool.running() == ()


def test_running_tells_how_far_it_is(pool: WorkerPool, gate: Gate, way_on: Gate) -> None:
    hold = held(gate, way_on)
    third = order(lambda index, item: hold(index, item) if index == 2 else [], ["a", "b", "c"])
    ends = start(pool, third)
    gate.wait()
    wait_for(lambda: pool.running()[0].records >= 2)  # the third has begun
    let_on(way_on)
    ends.outcome()


def test_what_is_stopped_while_it_runs_is_not_reported(
    pool: WorkerPool, gate: Gate, way_on: Gate
) -> None:
    stopped = start(pool, order(held(gate, way_on), [1], phase="map"))
    gate.wait()
    pool.stop("job", "map", 0, 0)
    assert (pool.running(), pool.busy()) == ((), 0)
    if isinstance(pool, InlineWorkerPool):
        let_on(way_on)
    assert run(pool, lambda index, item: [(item, 1)], [1]) == {1: [1]}
    assert stopped.is_empty


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("a",), ["b map 1 0"]),
        (("a", "map"), ["a reduce 1 0", "b map 1 0"]),
        (("a", "map", 2), ["a map 1 0", "a map 1 1", "a reduce 1 0", "b map 1 0"]),
        (("a", "map", 1, 1), ["a map 1 0", "a map 2 0", "a reduce 1 0", "b map 1 0"]),
        (("a", "map", 1, 1, 1), ["a map 1 0", "a map 2 0", "a reduce 1 0", "b map 1 0"]),
        (("c",), ["a map 1 0", "a map 1 1", "a map 2 0", "a reduce 1 0", "b map 1 0"]),
        (
            ("a", "map", 1, 1, 2),
            ["a map 1 0", "a map 1 1", "a map 2 0", "a reduce 1 0", "b map 1 0"],
        ),
    ],
)
def test_stop_takes_what_matches_out_of_the_queue(
    pool: WorkerPool, gate: Gate, way_on: Gate, arguments: tuple[Any, ...], left: list[str]
) -> None:
    blocker = start(pool, order(held(gate, way_on), [1], job_id="blocker"))
    gate.wait()
    queued = {
        f"{job_id} {phase} {task} {number}": start(
            pool,
            order(lambda index, item: [], [], job_id=job_id, phase=phase, task=task, number=number),
        )
        for job_id, phase, task, number in [
            ("a", "map", 1, 0),
            ("a", "map", 1, 1),
            ("a", "map", 2, 0),
            ("a", "reduce", 1, 0),
            ("b", "map", 1, 0),
        ]
    }
    pool.stop(*arguments)
    assert pool.busy() == 1 + len(left)
    let_on(way_on)
    blocker.outcome()
    for name in left:
        made = queued[name].next()[1]
        if isinstance(made, Path):
            made.unlink()
    assert all(ends.is_empty for name, ends in queued.items() if name not in left)


def test_a_callback_that_fails_does_not_hold_up_the_others(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("a mistake of the caller's")

    pool.submit(order(lambda index, item: [], []), LocalInput(), fail)
    assert run(pool, lambda index, item: [(item, 1)], [1]) == {1: [1]}
    assert "a mistake of the caller's" in caplog.text


def test_a_callback_may_submit(pool: WorkerPool) -> None:
    ends = Ends()
    wanted = order(lambda index, item: [(item, 1)], [5])
    pool.submit(wanted, LocalInput(), lambda *_: pool.submit(wanted, LocalInput(), ends))
    assert result_of(ends.outcome()) == {5: [1]}


def test_close_drops_what_runs_and_waits_and_takes_no_more(
    make: Make, gate: Gate, way_on: Gate
) -> None:
    def refuses() -> bool:
        try:
            pool.submit(order(lambda index, item: [], []), LocalInput(), waiting)
        except Refused:
            return True
        return False

    with make(1) as pool:
        running = start(pool, order(held(gate, way_on), [1], phase="map"))
        waiting = start(pool, order(lambda index, item: [], []))
        gate.wait()
        closing = threading.Thread(target=pool.close)
        closing.start()
        wait_for(refuses)
        if isinstance(pool, InlineWorkerPool):
            let_on(way_on)
        closing.join()
        pool.close()
        pool.stop("job")
        assert (pool.running(), pool.busy()) == ((), 0)
    assert running.is_empty
    assert waiting.is_empty


def test_loaded_functions_stay_for_the_job_and_go_with_it(pool: WorkerPool) -> None:
    seen: list[int] = []

    def remember(index: int, item: int) -> list[tuple[str, int]]:
        seen.append(item)
        return [("seen", len(seen))]

    functions = functions_of(remember)
    assert run(pool, remember, [1], functions=functions) == {"seen": [1]}
    assert run(pool, remember, [1], functions=functions) == {"seen": [2]}
    assert run(pool, remember, [1], functions=functions, job_id="other") == {"seen": [1]}
    pool.stop("job")
    assert run(pool, remember, [1], functions=functions) == {"seen": [1]}
