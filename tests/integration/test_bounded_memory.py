"""Jobs whose data is several times as large as what their worker processes may have."""

from __future__ import annotations

import pytest

from map_reduce import Options, ServerInterface

TIGHT = Options(memory_mb_max=128, timeout_s=1200)


@pytest.fixture(scope="module")
def server():
    with ServerInterface(slots=1, quiet=True, progress=False) as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_million_keys_in_a_worker_that_has_room_for_a_quarter_of_them(server):
    def many(number, first):
        for key in range(first, first + 100_000):
            yield f"key {key:07}", (key, "value")

    def one(key, values):
        return len(values), sum(number for number, _ in values)

    job = server.startup([first * 50_000 for first in range(20)], many, one, options=TIGHT)
    seen = bytearray(1_050_000)
    for key, result in job.stream():
        number = int(key[4:])
        count = 1 if number < 50_000 or number >= 1_000_000 else 2
        assert result == (count, count * number)
        assert not seen[number]
        seen[number] = 1
    assert all(seen)
    assert job.report.spilled_bytes > 20_000_000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_key_whose_values_are_larger_than_the_worker_may_be(server):
    def many(number, first):
        for n in range(first, first + 100_000):
            yield "the key", f"{n:07}".ljust(150, ".")
            if n % 1000 == 0:
                yield n, n

    def in_order(key, values):
        if key != "the key":
            return list(values)
        assert all(int(value[:7]) == n for n, value in enumerate(values))
        return len(values), values[0][:7], values[-1][:7], values[123_456][:7]

    firsts = [first * 100_000 for first in range(10)]
    found = server.startup(firsts, many, in_order, options=TIGHT).result()
    assert found.pop("the key") == (1_000_000, "0000000", "0999999", "0123456")
    assert found == {n: [n] for n in range(0, 1_000_000, 1000)}
