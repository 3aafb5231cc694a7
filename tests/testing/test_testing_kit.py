"""The public kit: its reference, how it tells what went wrong, and the examples of its page."""

from __future__ import annotations

import doctest
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.testing import ChaosCluster, run_under_chaos, sequential
from map_reduce.testing import sequential as reference

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def words(number, line):
    return [(word, 1) for word in line.split()]


def total(word, counts):
    return sum(counts)


@given(st.lists(st.text("ab ", max_size=8), max_size=20))
def test_the_reference_counts_as_counting_does(lines):
    every = [word for line in lines for word in line.split()]
    expected = {word: every.count(word) for word in every}
    assert sequential(lines, words, total) == expected
    assert sequential(lines, words, total, total) == expected
    assert sequential(dict(enumerate(lines)), words, total) == expected
    assert [*sequential(lines, words, total)] == [*dict.fromkeys(every)]


def test_the_page_shows_what_it_says():
    (session,) = [example for example in EXAMPLES if example.startswith(">>>")]
    parsed = doctest.DocTestParser().get_doctest(session, {}, "docs/testing.md", None, 0)
    assert doctest.DocTestRunner().run(parsed).attempted == 2
    assert doctest.DocTestRunner().run(parsed).failed == 0
    assert "ten lines" in PAGE
    assert reference.__doc__ is not None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_examples_of_the_page_are_tests_that_pass(tmp_path):
    tests = [example for example in EXAMPLES if "def test_" in example]
    assert len(tests) == 3
    for number, example in enumerate(tests):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_that_gives_another_answer_is_told_with_the_seed_and_what_differs():
    def unsteady(number, item):
        return [(item, random.SystemRandom().random()), ("steady", 1)]

    def first(key, values):
        return values[0]

    with pytest.raises(AssertionError, match=r"2 keys wrong: 'a', 'b'\n.*seed=3, nodes=3.*alike"):
        run_under_chaos(["a", "b"], unsteady, first, seed=3, nodes=3, last_s=0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_that_ends_with_an_error_is_told_with_the_seed():
    here = os.getpid()

    def broken(number, item):
        if os.getpid() != here:
            raise ValueError("not today")
        return [(item, 1)]

    with pytest.raises(AssertionError, match=r"(?s)MapError.*not today.*seed=3, nodes=1"):
        run_under_chaos(["a"], broken, total, seed=3, nodes=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nodes_tell_in_the_log_what_they_are_at_and_what_they_decide():
    with ChaosCluster(2, settings={"MR_LOG_LEVEL": "DEBUG"}) as cluster:
        with cluster.server() as server:
            server.startup(["secret word"] * 40, words, total).result(60)
        cluster.dump_stacks()
        log = cluster.log_path.read_text()
        for node in cluster.nodes:
            _, told, stacks = log.partition(f"what node {node.number} ({node.address}) is at:")
            assert told
            assert "most recent call first" in stacks.partition("what node")[0]
            assert "in serve" in stacks.partition("what node")[0]
        assert re.search(r"AttemptEnded map task 0.*MapOutput, so: ", log)
        assert "secret" not in log
