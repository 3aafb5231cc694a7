"""A node at work: taking attempts, reporting them, and masters that vanish."""

from __future__ import annotations

import threading

import msgspec
import pytest

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AdoptJob,
    Answers,
    AttemptEnded,
    AttemptId,
    AttemptsRunning,
    BlockRef,
    Busy,
    Checked,
    CheckFunctions,
    CheckVerdict,
    CheckWork,
    Counts,
    Done,
    Failed,
    Failure,
    Functions,
    GetRanges,
    InlineItems,
    JobAdopted,
    JobOver,
    JobStatus,
    MapOutput,
    MapWork,
    No,
    NoBlock,
    NoJob,
    OutputKey,
    Progress,
    ReduceWork,
    ReportAttempts,
    Request,
    Source,
    StartAttempt,
    StopAttempt,
)
from map_reduce.errors import Unreachable
from map_reduce.runtime.attempts import CHECK_INLINE_BYTES_MAX, CHECKS_KEPT_MAX, Attempts
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.storage.disk import DiskBlockStore
from map_reduce.storage.tiered import TieredBlockStore
from map_reduce.transport import wire

ME = Member(Address("me", 1), 1)
MASTER = Address("master", 2)
OTHER = Address("other", 3)
WAIT_S = 10


class Pool:
    """Holds what it is given until the test lets it end."""

    slots = 2

    def __init__(self):
        self.given = {}
        self.arrived = threading.Semaphore(0)
        self.stopped = []

    def submit(self, order, local, ended):
        self.given[order.attempt] = (local, ended)
        self.arrived.release()

    def stop(self, *what):
        self.stopped.append(what)

    def running(self):
        return ()


class World:
    """A Transport behind which a master listens, and a clock.

    ``heard`` has what the master was told, each report by itself; ``requests`` how many came at
    once.
    """

    def __init__(self):
        self.heard = []
        self.requests = []
        self.reported = threading.Semaphore(0)  # released once a report counts
        self.answer = Done()
        self.arrived = threading.Semaphore(0)
        self.seconds = 0.0
        self.peers = set()
        self.inquiries = []
        self.known = None
        self.over = set()
        self.asked = threading.Semaphore(0)  # for map outputs, which it does not have
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.links = Links()

    def inquire(self, job_id):
        self.inquiries.append(job_id)
        return self.known

    def now_s(self):
        return self.seconds

    def call(self, peer, request: Request, timeout_s):
        if isinstance(request.body, GetRanges):
            self.asked.release()
            assert self.may_answer.wait(WAIT_S)
            return NoBlock(request.body.prefix + request.body.rows[0][0])
        body = wire.decode_request(wire.encode_request(request)).body
        told = list(body.reports) if isinstance(body, ReportAttempts) else [body]
        self.heard += told
        self.requests.append(len(told))
        self.peers = {peer}
        self.arrived.release(len(told))
        if self.answer is None:
            raise Unreachable("no answer")
        return Answers((self.answer,) * len(told)) if told != [body] else self.answer


@pytest.fixture
def world():
    made = World()
    yield made
    made.links.close()


@pytest.fixture
def pool():
    return Pool()


@pytest.fixture
def store(tmp_path):
    return DiskBlockStore(tmp_path / "blocks", temporary=True)


def attempts_of(world, pool, store, scratch, handler=None, attempts_max=2):
    peers = Peers(world, timeout_s=1, me=ME, handler=handler)
    made = Attempts(
        peers=peers,
        blocks=RingBlocks(peers, lambda target: (ME,), replicas=1, store=store),
        store=store,
        pool=pool,
        clock=world,
        links=world.links,
        scratch=scratch,
        attempts_max=attempts_max,
        give_up_s=30,
        inquire=world.inquire,
        is_over=world.over.__contains__,
    )
    plain = made._services.reported

    def reported(*told):
        counts = plain(*told)
        if counts:
            world.reported.release()
        return counts

    made._services.reported = reported
    return made


@pytest.fixture
def attempts(world, pool, store, tmp_path):
    (tmp_path / "fetched").mkdir()
    made = attempts_of(world, pool, store, tmp_path / "fetched")
    yield made
    made.close()


@pytest.fixture
def tiered(world, pool, tmp_path):
    """Attempts of a node that keeps what is small in memory, and its store."""
    (tmp_path / "fetched").mkdir()
    disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
    store = TieredBlockStore(disk, memory_bytes_max=100)
    made = attempts_of(world, pool, store, tmp_path / "fetched")
    yield made, store
    made.close()


def order(task=0, number=0, epoch=1, work=None):
    return StartAttempt(
        attempt=AttemptId("job", "map", task, number),
        epoch=epoch,
        master=MASTER,
        functions=Functions(b"f", None, b"d"),
        work=work or CheckWork(),
        timeout_s=9,
        careful=False,
    )


def end(pool, attempt, outcome, path=None):
    pool.given[attempt.attempt][1](outcome, path)


def test_an_attempt_is_taken_once_run_once_and_reported_once(attempts, pool, world):
    assert attempts.start(order()) == Done()
    assert attempts.start(order()) == Done()
    assert pool.arrived.acquire(timeout=WAIT_S)
    end(pool, order(), Checked())
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.heard == [AttemptEnded(order().attempt, 1, ME, Checked())]
    assert len(pool.given) == 1
    assert not pool.arrived.acquire(blocking=False)


def test_more_than_it_has_room_for_is_refused_as_busy(attempts):
    assert attempts.start(order(0)) == Done()
    assert attempts.start(order(1)) == Done()
    assert attempts.start(order(2)) == Busy()


def test_a_full_node_takes_attempts_of_a_job_that_has_less_than_its_share(attempts):
    for task in (0, 1):
        attempts.start(order(task))
    other = msgspec.structs.replace(order(), attempt=AttemptId("other", "map", 0, 0))
    assert attempts.start(other) == Done()
    assert attempts.start(order(2)) == Busy()
    again = msgspec.structs.replace(order(), attempt=AttemptId("other", "map", 1, 0))
    assert attempts.start(again) == Busy()


def test_an_old_master_is_fenced_off(attempts):
    assert attempts.start(order(0, epoch=5)) == Done()
    refusal = attempts.start(order(1, epoch=4))
    assert isinstance(refusal, No)
    assert "5" in refusal.reason


def test_a_map_output_is_kept_under_the_attempts_name(attempts, pool, world, store, tmp_path):
    attempts.start(order(3, 2))
    assert pool.arrived.acquire(timeout=WAIT_S)
    path = tmp_path / "out"
    path.write_bytes(b"segment")
    end(pool, order(3, 2), MapOutput("", (7,), Counts()), path)
    assert world.arrived.acquire(timeout=WAIT_S)
    outcome = world.heard[0].outcome
    assert store.read(outcome.name, 0, 99) == (b"segment", 7)
    attempts.end_job("job", blocks=False)
    assert store.usage() == (0, 0)


def test_a_small_map_output_is_kept_without_a_file_and_found_by_a_new_master(tiered, world, pool):
    attempts, store = tiered
    for task, made in enumerate((b"segment", b"")):
        attempts.start(order(task))
        assert pool.arrived.acquire(timeout=WAIT_S)
        end(pool, order(task), MapOutput("", (len(made),), Counts()), made)
        assert world.reported.acquire(timeout=WAIT_S)
    mapped = [message.outcome.name for message in world.heard]
    assert [store.bytes_of(name) for name in mapped] == [b"segment", b""]
    world.answer = None
    answer = attempts.adopt(adoption(outputs=(OutputKey(0, 0, 1), OutputKey(7, 0, 1))))
    assert answer.lost == (7,)
    assert store._disk.usage() == (0, 0)


def test_small_map_outputs_of_this_node_are_read_by_a_reduce_task_out_of_one_file(
    tiered, pool, tmp_path
):
    attempts, store = tiered
    large = tmp_path / "large"
    large.write_bytes(b"and a large one")
    store.adopt_bytes(BlockRef("job/map/0.0", 9, b""), b"123456789")
    store.adopt_file(BlockRef("job/map/1.0", 15, b""), large)
    store.adopt_bytes(BlockRef("job/map/2.0", 3, b""), b"abc")
    sources = (
        Source(ME.address, "job/map/0.0", 2, 4),
        Source(ME.address, "job/map/1.0", 4, 11),
        Source(ME.address, "job/map/2.0", 0, 3),
    )
    attempts.start(order(work=ReduceWork.of(0, 1, 3, sources)))
    assert pool.arrived.acquire(timeout=WAIT_S)
    [(local, _)] = pool.given.values()
    seen = []
    for path, offset, length in local.sources:
        seen.append(path.read_bytes()[offset : offset + length])
    assert seen == [b"3456", b"a large one", b"abc"]
    assert local.sources[0].path == local.sources[2].path
    assert store._disk.usage() == (1, 15)


def test_a_map_output_that_ends_too_early_is_lost(tiered, world):
    attempts, store = tiered
    store.adopt_bytes(BlockRef("job/map/0.0", 3, b""), b"abc")
    source = Source(ME.address, "job/map/0.0", 0, 4)
    attempts.start(order(work=ReduceWork.of(0, 1, 1, (source,))))
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.heard[0].outcome.lost_source == source


def test_what_this_nodes_own_master_is_told_takes_no_thread(world, pool, store, tmp_path):
    heard = []

    def master(request):
        heard.extend((threading.get_ident(), report) for report in request.body.reports)
        return Answers((Done(),))

    (tmp_path / "fetched").mkdir()
    attempts = attempts_of(world, pool, store, tmp_path / "fetched", master)
    work = MapWork(InlineItems(b"", 0, 0, False), 1)
    mine = msgspec.structs.replace(order(work=work), master=ME.address)
    assert attempts.start(mine) == Done()
    assert mine.attempt in pool.given, "it was at hand, so it is begun by the handler"
    end(pool, mine, MapOutput("", (1,), Counts()), b"x")
    [(thread, told)] = heard
    assert thread == threading.get_ident()
    assert store.read(told.outcome.name, 0, 9) == (b"x", 1)
    attempts.close()


def test_a_master_elsewhere_does_not_keep_the_pool_waiting(attempts, pool, world, monkeypatch):
    answered = threading.Event()

    def call(peer, request, timeout_s):
        assert answered.wait(WAIT_S)
        world.arrived.release()
        return Done()

    monkeypatch.setattr(world, "call", call)
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    end(pool, order(), MapOutput("", (1,), Counts()), b"x")
    assert not world.arrived.acquire(blocking=False)
    answered.set()
    assert world.arrived.acquire(timeout=WAIT_S)


def test_reports_that_come_up_while_one_is_answered_go_together_but_for_those_that_were_stopped(
    world, pool, store, tmp_path, monkeypatch
):
    answered, plain = threading.Event(), world.call

    def call(peer, request, timeout_s):
        reply = plain(peer, request, timeout_s)
        assert answered.wait(WAIT_S)
        return reply

    monkeypatch.setattr(world, "call", call)
    (tmp_path / "fetched").mkdir()
    attempts = attempts_of(world, pool, store, tmp_path / "fetched", attempts_max=4)
    for task in range(4):
        attempts.start(order(task))
        assert pool.arrived.acquire(timeout=WAIT_S)
    end(pool, order(0), MapOutput("", (1,), Counts()), b"x")
    assert world.arrived.acquire(timeout=WAIT_S)
    for task in (1, 2, 3):
        end(pool, order(task), MapOutput("", (1,), Counts()), b"x")
    assert attempts.stop(StopAttempt(order(2).attempt, 1)) == Done()
    answered.set()
    for _ in (0, 1, 3):
        assert world.reported.acquire(timeout=WAIT_S)
    assert [report.attempt.task for report in world.heard] == [0, 1, 3]
    assert world.requests == [1, 2]
    attempts.close()


def test_a_report_that_is_not_answered_is_repeated_with_the_signs_of_life(attempts, pool, world):
    world.answer = None
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    end(pool, order(), Checked())
    assert world.arrived.acquire(timeout=WAIT_S)
    while attempts._reports.has(MASTER, order().attempt):
        attempts.send_signs_of_life()  # whatever is on its way is not told a second time
    world.heard.clear()
    world.answer = Done()
    attempts.send_signs_of_life()
    assert world.reported.acquire(timeout=WAIT_S)
    assert {type(message) for message in world.heard} == {AttemptEnded, AttemptsRunning}
    world.heard.clear()
    attempts.send_signs_of_life()
    assert [type(message) for message in world.heard] == [AttemptsRunning]


def test_signs_of_life_name_what_is_here(attempts, pool, world):
    attempts.start(order(0))
    attempts.start(order(1))
    attempts.send_signs_of_life()
    (sign,) = world.heard
    assert {running.attempt.task for running in sign.running} == {0, 1}


def test_a_master_that_says_that_the_job_is_over_ends_it_here(attempts, pool, world):
    attempts.start(order())
    world.answer = JobOver("job")
    attempts.send_signs_of_life()
    assert ("job",) in pool.stopped
    world.heard.clear()
    attempts.send_signs_of_life()
    assert world.heard == []


@pytest.mark.parametrize("answer", [None, NoJob("job")])
def test_a_job_that_nobody_knows_is_given_up_after_a_while(attempts, pool, world, answer):
    attempts.start(order())
    world.answer = answer
    for world.seconds in (1, 10, 29):
        attempts.send_signs_of_life()
    assert world.inquiries == ["job", "job"], "not at once, and not all the time"
    assert pool.stopped == []
    world.seconds = 31
    attempts.send_signs_of_life()
    assert ("job",) in pool.stopped


@pytest.mark.parametrize("answer", [None, NoJob("job")])
def test_a_job_that_somebody_knows_is_never_given_up(attempts, pool, world, answer):
    attempts.start(order())
    world.answer = answer
    world.known = JobStatus("job", "", Progress(), (), 0, None, None)
    for world.seconds in range(0, 300, 5):
        attempts.send_signs_of_life()
    assert pool.stopped == []
    world.known = JobOver("job")
    world.seconds = 303
    attempts.send_signs_of_life()
    assert ("job",) in pool.stopped


def test_a_node_that_missed_the_new_master_finds_it_and_reports_to_it(attempts, pool, world):
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    world.answer = None
    end(pool, order(), Checked())
    assert world.arrived.acquire(timeout=WAIT_S)
    new = Member(Address("other", 3), 1)
    world.known = JobStatus("job", "", Progress(), (), 0, None, new, epoch=7)
    world.seconds = 5
    attempts.send_signs_of_life()
    world.answer = Done()
    attempts.send_signs_of_life()
    assert world.reported.acquire(timeout=WAIT_S)
    assert AttemptEnded(order().attempt, 7, ME, Checked()) in world.heard
    assert world.peers == {new.address}


# ------------------------------------------------------------------ another master


def adoption(epoch=2, maps=b"", finals=b"", outputs=()):
    return AdoptJob("job", epoch, OTHER, maps, finals, outputs)


def mapped(attempts, pool, world, tmp_path, task):
    """An attempt that has ended well and was reported."""
    attempts.start(order(task))
    assert pool.arrived.acquire(timeout=WAIT_S)
    path = tmp_path / f"out{task}"
    path.write_bytes(b"segment")
    end(pool, order(task), MapOutput("", (7,), Counts()), path)
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.reported.acquire(timeout=WAIT_S)
    return world.heard[-1].outcome


def test_what_runs_goes_on_and_is_reported_to_the_new_master(attempts, pool, world):
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    assert attempts.adopt(adoption()) == JobAdopted((order().attempt,), ())
    end(pool, order(), Checked())
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.heard == [AttemptEnded(order().attempt, 2, ME, Checked())]
    assert world.peers == {OTHER}


def test_what_the_ledger_does_not_have_is_reported_again(attempts, pool, world, tmp_path):
    outcomes = [mapped(attempts, pool, world, tmp_path, task) for task in (0, 1)]
    world.heard.clear()
    reply = attempts.adopt(adoption(maps=b"\x01", outputs=(OutputKey(0, 0, 1), OutputKey(3, 0, 1))))
    assert reply == JobAdopted((order(1).attempt,), (3,))
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.heard == [AttemptEnded(order(1).attempt, 2, ME, outcomes[1])]


def test_an_output_that_is_gone_is_not_reported_again(attempts, pool, world, store, tmp_path):
    outcome = mapped(attempts, pool, world, tmp_path, 0)
    store.delete_prefix(outcome.name)
    assert attempts.adopt(adoption(outputs=(OutputKey(0, 0, 1),))) == JobAdopted((), (0,))


def test_the_old_master_starts_and_stops_nothing_any_more(attempts, pool, world):
    attempts.start(order())
    attempts.adopt(adoption(epoch=2))
    for refused in (
        attempts.start(order(1)),
        attempts.stop(StopAttempt(order().attempt, 1)),
        attempts.adopt(adoption(epoch=1)),
    ):
        assert isinstance(refused, No)
        assert "other:3" in refused.reason
    assert pool.stopped == []


def test_a_job_that_has_ended_is_not_begun_again(attempts, world):
    world.over.add("job")
    assert isinstance(attempts.start(order()), No)
    assert isinstance(attempts.adopt(adoption()), No)


def test_what_was_stopped_is_not_reported(attempts, pool, world, tmp_path):
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    attempts.stop(StopAttempt(order().attempt, 1))
    path = tmp_path / "out"
    path.write_bytes(b"x")
    end(pool, order(), MapOutput("", (1,), Counts()), path)
    attempts.close()
    assert world.heard == []


def test_a_map_output_that_cannot_be_fetched_is_named(attempts, world):
    source = Source(Address("gone", 9), "job/map/0.0", 0, 10)
    attempts.start(order(work=ReduceWork.of(0, 1, 1, (source,))))
    assert world.arrived.acquire(timeout=WAIT_S)
    outcome = world.heard[0].outcome
    assert isinstance(outcome, Failed)
    assert outcome.retry
    assert outcome.lost_source == source
    assert "gone:9" in outcome.failure.message


def test_attempts_whose_sources_come_slowly_keep_no_output_waiting(world, pool, store, tmp_path):
    attempts = attempts_of(world, pool, store, tmp_path / "fetched", attempts_max=20)
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    world.may_answer.clear()
    source = Source(Address("slow", 9), "job/map/0.0", 0, 10)
    for task in range(1, 13):  # more than there are threads for fetching
        reduces = order(work=ReduceWork.of(0, 1, 1, (source,)))
        reduces = msgspec.structs.replace(reduces, attempt=AttemptId("job", "reduce", task, 0))
        attempts.start(reduces)
    assert world.asked.acquire(timeout=WAIT_S)
    path = tmp_path / "out"
    path.write_bytes(b"x")
    end(pool, order(), MapOutput("", (1,), Counts()), path)
    assert world.arrived.acquire(timeout=WAIT_S)
    assert world.heard[0].attempt == order().attempt
    world.may_answer.set()
    attempts.close()


def test_a_check_gives_its_verdict_when_asked(attempts, pool):
    assert isinstance(attempts.verdict("c"), No)
    attempts.check(CheckFunctions("c", Functions(b"f", None, b"d")))
    assert pool.arrived.acquire(timeout=WAIT_S)
    assert attempts.verdict("c") == CheckVerdict(False, None)
    failure = Failure("FunctionError", "no such module")
    ((_, ended),) = pool.given.values()
    ended(Failed(failure, retry=False), None)
    assert attempts.verdict("c") == CheckVerdict(True, failure)


def test_work_on_files_is_handed_over_as_it_is(attempts, pool):
    work = MapWork(InlineItems(b"", 0, 0, False), 1)
    attempts.start(order(work=work))
    assert pool.arrived.acquire(timeout=WAIT_S)
    ((local, _),) = pool.given.values()
    assert local.functions is None
    assert local.split is None


def test_an_output_that_cannot_be_kept_is_a_failure_that_the_master_hears_of(
    attempts, pool, world, store, tmp_path, monkeypatch
):
    def full(ref, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "adopt_file", full)
    attempts.start(order())
    assert pool.arrived.acquire(timeout=WAIT_S)
    path = tmp_path / "out"
    path.write_bytes(b"x")
    end(pool, order(), MapOutput("", (1,), Counts()), path)
    assert world.arrived.acquire(timeout=WAIT_S)
    outcome = world.heard[0].outcome
    assert isinstance(outcome, Failed)
    assert outcome.retry
    assert "No space left" in outcome.failure.message


def test_work_that_the_pool_does_not_take_is_a_failure_that_the_master_hears_of(
    attempts, pool, world, monkeypatch
):
    def refuse(order, local, ended):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pool, "submit", refuse)
    attempts.start(order())
    assert world.arrived.acquire(timeout=WAIT_S)
    assert "No space left" in world.heard[0].outcome.failure.message


def test_a_silent_master_is_waited_for_once_in_a_round(attempts, world):
    for task in (0, 1):
        job = AttemptId(f"job{task}", "map", 0, 0)
        attempts.start(msgspec.structs.replace(order(), attempt=job))
    world.answer = None
    attempts.send_signs_of_life()
    assert len(world.heard) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../kept", "absolute", "n" * 999, "a\0b"])
def test_nothing_but_its_own_is_deleted_whatever_a_job_or_check_is_called(
    attempts, pool, tmp_path, name
):
    kept = tmp_path / "kept" / "file"
    kept.parent.mkdir()
    kept.touch()
    of_another = tmp_path / "fetched" / "of-other" / "functions"
    of_another.parent.mkdir()
    of_another.touch()
    name = str(kept.parent) if name == "absolute" else name
    attempts.check(CheckFunctions(name, Functions(b"f", None, b"d")))
    assert pool.arrived.acquire(timeout=WAIT_S)
    pool.given[AttemptId(name, "check", 0, 0)][1](Checked(), None)
    attempts.end_job(name, blocks=True)
    assert kept.exists()
    assert of_another.exists()


def test_checks_are_bounded_in_number_and_length(attempts, pool):
    functions = Functions(b"f", None, b"d")
    long = Functions(bytes(CHECK_INLINE_BYTES_MAX + 1), None, b"d")
    assert "stored" in attempts.check(CheckFunctions("long", long)).reason
    for number in range(CHECKS_KEPT_MAX):
        assert attempts.check(CheckFunctions(f"c{number}", functions)) == Done()
    assert attempts.check(CheckFunctions("more", functions)) == Busy()
    assert attempts.check(CheckFunctions("c0", functions)) == Done()  # asked once more
    for _ in range(CHECKS_KEPT_MAX):
        assert pool.arrived.acquire(timeout=WAIT_S)
    pool.given[AttemptId("c7", "check", 0, 0)][1](Checked(), None)
    assert attempts.check(CheckFunctions("more", functions)) == Done()
    assert attempts.verdict("c0") == CheckVerdict(False, None)
    assert isinstance(attempts.verdict("c7"), No)
