"""A job's records, as a master writes them, on replicas that die."""

from __future__ import annotations

import msgspec
import pytest
from record_ring import GONE_AFTER_S, Clock, RecordRing

from map_reduce.core.jobs.state import JobEnd, Shard, labels
from map_reduce.core.messages import Functions, InlineItems, JobSpec, Progress
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.care import TURN_S
from map_reduce.core.registers.lease import Lease
from map_reduce.core.scheduling.effects import Commit
from map_reduce.errors import Unreachable
from map_reduce.runtime.journal import (
    BEARING_AFTER_S,
    BEARING_AGAIN_S,
    BORN_AT_A_TIME_MAX,
    Fenced,
    Journal,
)

PARTITIONS = 130


@pytest.fixture
def ring():
    with RecordRing(5, members_max=5) as made:
        yield made


def spec_of(ring, splits=600, partitions=PARTITIONS):
    birth = Birth(b"about", b"nonce", tuple(node.own.me for node in ring.nodes[:5]))
    return birth, JobSpec(
        job_id=birth.name,
        birth=birth.encode(),
        name="a job",
        functions=Functions(b"", None, b""),
        combines=False,
        splits=tuple(InlineItems(b"", 1, number, False) for number in range(splits)),
        partitions=partitions,
        readers=(),
        input_bytes=0,
        python="",
        submitted_at_s=0.0,
    )


def master_of(ring, birth, spec, node, seen_epoch=0):
    clock = Clock()
    journal = Journal(node.records, None, clock, birth, node.me, lease_s=1.5)
    journal.claim(seen_epoch)
    journal.expect(spec)
    return journal, clock


def written(ring, birth, spec):
    """The labels of shards that have a value."""
    count = len(spec.splits) if len(spec.splits) > 1 else 0
    every = labels(count, spec.partitions, spec.partitions)
    return [label for label in every if ring.client.read(birth.record(label)).value is not None]


def of_shards(number, *names):
    return Commit(number, tuple((name, Shard()) for name in names), None, None, (), ())


def test_a_short_job_writes_only_what_has_something_in_it(ring):
    birth, spec = spec_of(ring)
    journal, clock = master_of(ring, birth, spec, ring.nodes[0])
    journal.write(of_shards(1, "maps/0"))
    clock.now += BEARING_AFTER_S / 2
    journal.renew()
    assert written(ring, birth, spec) == ["maps/0"]
    clock.now += BEARING_AFTER_S
    end = JobEnd(Progress("done"))
    journal.write(Commit(2, (), None, end, (), ()))
    assert written(ring, birth, spec) == ["maps/0"]


def test_a_longer_one_has_all_shards_written_a_few_at_a_time(ring):
    birth, spec = spec_of(ring, splits=20 * 252, partitions=PARTITIONS)
    every = [*labels(len(spec.splits), PARTITIONS, PARTITIONS)]
    assert len(every) > BORN_AT_A_TIME_MAX + 2
    journal, clock = master_of(ring, birth, spec, ring.nodes[0])
    clock.now += BEARING_AFTER_S
    journal.renew()
    assert written(ring, birth, spec) == every[:BORN_AT_A_TIME_MAX]
    journal.write(of_shards(1, "maps/1"))  # a master that is busy writing does not renew
    assert written(ring, birth, spec) == every


def test_that_nothing_is_to_be_added_up_outlives_masters_and_cuts(ring):
    birth, spec = spec_of(ring)
    journal, _ = master_of(ring, birth, spec, ring.nodes[0])
    journal.write(Commit(1, (), None, None, (), (), adds=False))
    journal.write(Commit(2, (), (PARTITIONS,), None, (), ()))
    journal.resign()
    second, _ = master_of(ring, birth, spec, ring.nodes[1], seen_epoch=1)
    found = second.read_ledger(spec)
    assert (found.cuts, found.adds) == ((PARTITIONS,), False)


def test_a_job_outlives_all_members_that_its_records_were_born_with(ring):
    birth, spec = spec_of(ring)
    journal, clock = master_of(ring, birth, spec, ring.nodes[0])
    clock.now += BEARING_AFTER_S
    journal.renew()
    for number in range(6, 11):
        ring.add(number)
        ring.lose(ring.nodes[0])
        ring.look(GONE_AFTER_S + 6 * TURN_S)
    assert not {node.own.me for node in ring.nodes} & set(birth.members)
    later, _ = master_of(ring, birth, spec, ring.nodes[0], seen_epoch=1)
    later.read_ledger(spec)
    later.write(of_shards(1, "maps/2", "finals/2"))
    assert set(written(ring, birth, spec)) >= {"maps/2", "finals/2"}


def test_to_be_born_again_changes_nothing_and_a_later_master_fences_it(ring):
    birth, spec = spec_of(ring)
    first, clock = master_of(ring, birth, spec, ring.nodes[0])
    batch = of_shards(1, "maps/0")
    shard = Shard(troubles=())
    first.write(msgspec.structs.replace(batch, shards=(("maps/0", shard),)))
    before = ring.client.read(birth.record("maps/0"))
    clock.now += BEARING_AFTER_S
    first.renew()
    assert ring.client.read(birth.record("maps/0")) == before
    later, later_clock = master_of(ring, birth, spec, ring.nodes[1], seen_epoch=1)
    later_clock.now += BEARING_AFTER_S
    later.renew()
    assert Lease.decode(ring.client.read(birth.record("finals/0")).value).epoch == 2
    with pytest.raises(Fenced):
        first.write(of_shards(2, "finals/0"))


class Refusing:
    """Records, but for one that cannot be reached."""

    def __init__(self, records, name):
        self.name = name
        self._records = records

    def change(self, record, change, within_s):
        if record.name == self.name:
            raise Unreachable("for a test")
        return self._records.change(record, change, within_s=within_s)


def test_a_shard_that_cannot_be_written_does_not_keep_the_job_waiting(ring):
    birth, spec = spec_of(ring)
    records = Refusing(ring.nodes[0].records, birth.record("maps/1").name)
    clock = Clock()
    journal = Journal(records, None, clock, birth, ring.nodes[0].me, lease_s=1.5)
    journal.claim(0)
    journal.expect(spec)
    clock.now += BEARING_AFTER_S
    journal.write(of_shards(1, "maps/0"))
    assert written(ring, birth, spec) == ["maps/0"]
    records.name = ""
    journal.renew()
    assert written(ring, birth, spec) == ["maps/0"], "it is not tried again at once"
    clock.now += BEARING_AGAIN_S
    journal.renew()
    assert len(written(ring, birth, spec)) == 6
