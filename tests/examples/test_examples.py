"""The examples run as their heads say, and print what is kept in ``examples/expected``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def run(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def output(name, *arguments, cwd):
    done = run(name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_its_expected_output():
    assert NAMES
    assert sorted(path.stem for path in (EXAMPLES / "expected").glob("*.txt")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_what_is_expected(name, tmp_path):
    assert output(name, cwd=tmp_path) == (EXAMPLES / "expected" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_does_not_exist_is_one_line(name, tmp_path):
    done = run(name, "--file", "no_such.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{name}: no file 'no_such.txt'" in done.stderr
    assert "Traceback" not in done.stderr


def test_word_count_of_several_files(tmp_path):
    (tmp_path / "a.txt").write_text("one two\nTwo THREE three\n")
    (tmp_path / "b.txt").write_text("three don't\r\n")
    assert output("word_count", "--file", "*.txt", "--top", "3", cwd=tmp_path) == (
        "        3  three\n        2  two\n        1  don't\n        7  words, 4 of them distinct\n"
    )


def test_inverted_index_of_words_that_are_asked_for(tmp_path):
    (tmp_path / "a.txt").write_text("sea\n\nland and Sea, sea\n")
    arguments = ("--file", "a.txt", "--word", "SEA", "--word", "sky")
    assert output("inverted_index", *arguments, cwd=tmp_path) == "sea: 1, 3\nsky: nowhere\n"


def test_log_summary_of_an_empty_log(tmp_path):
    (tmp_path / "empty.log").touch()
    first, *_ = output("log_summary", "--file", "empty.log", cwd=tmp_path).splitlines()
    assert first == "0 requests, 0 bytes sent, 0 lines not understood"


def test_sort_lines_of_several_files(tmp_path):
    (tmp_path / "a.txt").write_text("pear\nApple\n\nfig\n")
    (tmp_path / "b.txt").write_text("fig\napple\n")
    arguments = ("--file", "*.txt")
    assert output("sort_lines", *arguments, cwd=tmp_path) == (
        "   1  Apple\n   1  apple\n   2  fig\n   1  pear\n"
    )
    folded = output("sort_lines", *arguments, "--ignore-case", cwd=tmp_path)
    assert folded.splitlines()[:3] == ["   1  Apple", "   1  apple", "   2  fig"]
