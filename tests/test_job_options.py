"""What a job may ask of its tasks, refused at the earliest point where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from map_reduce import Options, Skip
from map_reduce.client.submission import _rules
from map_reduce.core.messages import TaskRules
from map_reduce.errors import ConfigError


def test_nothing_asked_for() -> None:
    assert Options().skip is None
    assert _rules(Options()) == TaskRules()


ANY_OPTION = r"on_bad_record|share|timeout_s|memory_mb_max|backups|priority|result_ttl_s"


@pytest.mark.parametrize(
    ("text", "skip"),
    [
        ("fail", None),
        ("skip:0", Skip(up_to=0)),
        ("skip:12", Skip(up_to=12)),
        ("skip:1%", Skip(share=0.01)),
        ("skip:0.5%", Skip(share=0.005)),
        ("skip:100%", Skip(share=1.0)),
    ],
)
def test_texts_for_what_to_do_about_bad_records(text: str, skip: Skip | None) -> None:
    options = Options(on_bad_record=text)
    assert options.skip == skip
    assert str(options.on_bad_record) == text
    assert Options(on_bad_record=skip or "fail") == options


@pytest.mark.parametrize("text", ["", "skip", "skip:", "skip:-1", "skip:1.5", "skip:%", "ignore"])
def test_texts_that_mean_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match=r"on_bad_record is .* it may be 'fail', 'skip:10'"):
        Options(on_bad_record=text)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"up_to": 1, "share": 0.1},
        {"up_to": -1},
        {"up_to": 1.0},
        {"up_to": True},
        {"share": -0.1},
        {"share": 1.1},
        {"share": float("nan")},
        {"share": "1%"},
    ],
)
def test_limits_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Skip"):
        Skip(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"on_bad_record": 3},
        {"on_bad_record": None},
        {"on_bad_record": "skip:101%"},
        {"timeout_s": 0},
        {"timeout_s": -1.0},
        {"timeout_s": float("inf")},
        {"timeout_s": "10"},
        {"memory_mb_max": 1},
        {"memory_mb_max": 1024.0},
        {"backups": 1},
        {"priority": 0},
        {"priority": float("nan")},
        {"result_ttl_s": 0.5},
    ],
)
def test_options_out_of_their_range(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=ANY_OPTION):
        Options(**given)


def test_options_as_data() -> None:
    options = Options(on_bad_record="skip:1%", timeout_s=5, memory_mb_max=512, backups=False)
    assert _rules(options) == TaskRules(True, -1, 0.01, 5.0, 512, False)
    assert _rules(Options(on_bad_record="skip:7")) == TaskRules(True, 7)
