from __future__ import annotations

import json
import logging
import sys

import pytest

from map_reduce.errors import ConfigError
from map_reduce.server.logs import JsonFormatter, set_up_logging


def test_a_record_is_one_line_of_json_with_its_error() -> None:
    try:
        raise ValueError("what\nwent wrong")
    except ValueError:
        record = logging.LogRecord(
            "map_reduce.x", logging.ERROR, "f", 1, "two\nlines: %s", ("é",), sys.exc_info()
        )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "two\nlines: é"
    assert told["level"] == "ERROR"
    assert told["error"].endswith("ValueError: what\nwent wrong")
    assert told["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("environ", "named"),
    [({"MR_LOG_LEVEL": "LOUD"}, "MR_LOG_LEVEL='LOUD'"), ({"MR_LOG_FORMAT": "xml"}, "'xml'")],
)
def test_what_is_no_level_or_format_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        set_up_logging(environ)
