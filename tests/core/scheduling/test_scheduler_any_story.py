"""Any story at all: nodes come, go, refuse, fall silent and lose outputs, attempts fail, events
come late, twice and out of order. After every event the invariants hold; when the trouble stops
the job ends, and if it is done then its result is whole."""

import msgspec
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scheduling_fakes import (
    FakeCluster,
    died,
    failed_at,
    items,
    job,
    lines,
    member,
    raised,
    scheduler_of,
)

from map_reduce.core.messages import AttemptId, Checked, Counts, MapOutput, Running, TaskRules
from map_reduce.core.scheduling.effects import Finish
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptRefused,
    AttemptTaken,
    Cancel,
    StillRunning,
)

PORTS = 4
pick = st.integers(0, 1000)


class AnyStory(RuleBasedStateMachine):
    @initialize(
        splits=st.integers(0, 7),
        files=st.booleans(),
        readers=st.sets(st.integers(0, PORTS - 1), min_size=1),
        ports=st.sets(st.integers(0, PORTS - 1), min_size=1),
        slots=st.integers(1, 3),
        begin_in=st.sampled_from(["map", "reduce"]),
        skips_max=st.sampled_from([None, -1, 0, 2, 100]),
        sums=st.booleans(),
    )
    def begin(self, splits, files, readers, ports, slots, begin_in, skips_max, sums):
        kind = lines if files else items
        where = tuple(member(port).address for port in sorted(readers)) if files else ()
        mixed = (kind(i) if i % 3 else items(i) for i in range(splits))
        rules = TaskRules() if skips_max is None else TaskRules(True, skips_max, 0.5)
        spec = msgspec.structs.replace(job(*mixed, readers=where), rules=rules)
        self.cluster = FakeCluster(scheduler_of(spec))
        self.cluster.mixed = sums
        self.lives = 1
        self.told = []
        self.cluster.join(*(member(port) for port in sorted(ports)), slots=slots)
        if splits > 1 and (ports & readers or not files):
            self.cluster.settle(begin_in)

    def one(self, things, number):
        return list(things)[number % len(things)]

    # ---------------------------------------------------------------- masters

    @rule(number=pick, deaf=st.booleans())
    def the_master_dies(self, number, deaf):
        nodes = self.cluster.nodes
        self.cluster.take_over([self.one(nodes, number)] if deaf and nodes else [])

    @rule(at_once=st.booleans())
    def the_ledger_gets_slow_or_quick(self, at_once):
        self.cluster.writes_at_once = at_once
        if at_once and self.cluster.batches:
            self.cluster.write()

    @precondition(lambda self: self.cluster.batches)
    @rule()
    def a_batch_is_written(self):
        self.cluster.write()

    def send(self, event):
        self.cluster.events.append(event)

    # ---------------------------------------------------------------- events on their way

    @precondition(lambda self: self.cluster.events)
    @rule(number=pick, repeat=st.booleans())
    def an_event_arrives(self, number, repeat):
        arriving = self.one(self.cluster.events, number)
        if not repeat:
            self.cluster.events.remove(arriving)
        self.told.append(arriving)
        self.cluster.feed(arriving)

    @precondition(lambda self: self.told)
    @rule(number=pick)
    def an_old_event_arrives_again(self, number):
        self.cluster.feed(self.one(self.told, number))

    @precondition(lambda self: self.cluster.events)
    @rule(number=pick)
    def an_event_is_lost(self, number):
        self.cluster.events.remove(self.one(self.cluster.events, number))

    # ---------------------------------------------------------------- starts

    @precondition(lambda self: self.cluster.starts)
    @rule(number=pick, quickly=st.booleans())
    def a_start_is_taken(self, number, quickly):
        answer = self.cluster.take(self.one(self.cluster.starts, number))
        self.cluster.feed(answer) if quickly else self.send(answer)

    @precondition(lambda self: self.cluster.starts)
    @rule(number=pick, busy=st.booleans(), begun=st.booleans())
    def a_start_is_refused(self, number, busy, begun):
        start = self.one(self.cluster.starts, number)
        if begun and not busy:  # the reply is what was lost
            self.cluster.take(start)
        else:
            self.cluster.starts.remove(start)
        self.send(AttemptRefused(start.attempt, start.node, busy, "for a test"))

    # ---------------------------------------------------------------- attempts

    @precondition(lambda self: self.cluster.running())
    @rule(number=pick)
    def an_attempt_succeeds(self, number):
        self.send(self.cluster.end(*self.one(self.cluster.running(), number)))

    @rule(count=st.integers(1, 4))
    def all_goes_well_for_a_while(self, count):
        for _ in range(count):
            self.cluster.take_all()
            for at, attempt in self.cluster.running()[:1]:
                self.cluster.feed(self.cluster.end(at, attempt))

    @precondition(lambda self: self.cluster.running())
    @rule(number=pick, really=st.integers(0, 2))
    def an_attempt_dies(self, number, really):
        if really == 0:
            self.send(self.cluster.end(*self.one(self.cluster.running(), number), died()))

    @precondition(lambda self: self.cluster.running())
    @rule(
        number=pick,
        position=st.integers(-1, 2),
        cause=st.sampled_from(["", "ValueError"]),
        sure=st.booleans(),
    )
    def an_attempt_fails_at_a_record(self, number, position, cause, sure):
        failed = failed_at("map", position, cause, sure)
        self.send(self.cluster.end(*self.one(self.cluster.running(), number), failed))

    @precondition(lambda self: self.cluster.running())
    @rule(number=pick, sizes=st.lists(st.integers(-1, 3), max_size=3), really=st.integers(0, 5))
    def an_attempt_reports_nonsense(self, number, sizes, really):
        if really == 0:
            at, attempt = self.one(self.cluster.running(), number)
            outcome = Checked() if not sizes else MapOutput("x", tuple(sizes), Counts())
            self.send(self.cluster.end(at, attempt, outcome))

    @precondition(lambda self: self.cluster.running())
    @rule(number=pick, really=st.integers(0, 9))
    def an_attempt_fails_for_good(self, number, really):
        if really == 0:
            self.send(self.cluster.end(*self.one(self.cluster.running(), number), raised()))

    @rule(
        job_id=st.sampled_from(["job", "other"]),
        phase=st.sampled_from(["check", "map", "reduce", "whole"]),
        task=st.integers(-1, 9),
        number=st.integers(0, 9),
    )
    def a_stranger_reports(self, job_id, phase, task, number):
        attempt = AttemptId(job_id, phase, task, number)
        stranger = member(99)
        self.cluster.feed(AttemptTaken(attempt, stranger))
        self.cluster.feed(AttemptRefused(attempt, stranger, False))
        self.cluster.feed(AttemptEnded(attempt, stranger, raised()))
        self.cluster.feed(StillRunning(stranger, (Running(attempt, 1, 1),)))

    # ---------------------------------------------------------------- nodes and time

    @precondition(lambda self: self.cluster.nodes)
    @rule(number=pick, noticed=st.booleans())
    def a_node_crashes(self, number, noticed):
        self.cluster.crash(self.one(self.cluster.nodes, number), noticed)

    @rule(port=st.integers(0, PORTS - 1), slots=st.integers(0, 3))
    def a_node_starts_anew(self, port, slots):
        for at in [at for at in self.cluster.nodes if at.address.port == port]:
            del self.cluster.nodes[at]
        self.lives += 1
        self.cluster.join(member(port, self.lives), slots=slots)

    @precondition(lambda self: self.cluster.nodes)
    @rule(number=pick)
    def a_node_loses_its_outputs(self, number):
        self.one(self.cluster.nodes.values(), number).outputs.clear()

    @rule()
    def the_membership_is_told(self):
        self.cluster.know()

    @precondition(lambda self: self.cluster.nodes)
    @rule(number=pick)
    def a_sign_of_life(self, number):
        self.send(self.cluster.sign_of(self.one(self.cluster.nodes, number)))

    @rule(seconds=st.floats(0, 6), signs=st.booleans())
    def time_passes(self, seconds, signs):
        self.cluster.tick(seconds, signs)

    @rule(really=st.integers(0, 30))
    def the_user_cancels(self, really):
        if really == 30:
            self.cluster.feed(Cancel("enough"))

    # ---------------------------------------------------------------- the end

    def teardown(self):
        if not hasattr(self, "cluster"):
            return
        self.the_ledger_gets_slow_or_quick(True)
        self.cluster.know()
        if self.cluster.ending is None:
            self.cluster.settle()
        event(f"ended {self.cluster.scheduler.phase.value}")
        event(f"{self.cluster.backups} backups")
        if isinstance(self.cluster.ending, Finish) and self.cluster.scheduler.spec.splits:
            self.cluster.check_result()
        for old in self.told:
            self.cluster.feed(old)  # nothing is done any more: the watch would object


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
