"""What the README shows is run, not believed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from map_reduce.cli import _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXPECTED = {"hello": 2, "world": 2, "distributed": 1, "computing": 1, "of": 1, "mapreduce": 1}


def test_the_snippet_prints_what_the_readme_says(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "snippet.py"
    script.write_text(snippet)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "Processing..."
    prefix = "Word counts: "
    assert second.startswith(prefix)
    assert eval(second[len(prefix) :]) == EXPECTED
    assert str(EXPECTED) in README
    (announcement,) = done.stderr.splitlines()
    assert "no cluster" in announcement


@pytest.mark.parametrize("command", ["node", "cluster", "status", "run", "stop"])
def test_every_command_is_in_the_readme_and_has_help(command, capsys):
    assert f"map-reduce {command}" in README
    with pytest.raises(SystemExit) as end:
        _parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert "usage: map-reduce" in capsys.readouterr().out


def test_the_commands_of_the_readme_parse():
    commands = re.findall(r"^    map-reduce (.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        arguments = [word.strip("'") for word in command.split()]
        assert _parser().parse_args(arguments).command


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
