"""What the log looks like: lines for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime, timezone

from map_reduce.errors import ConfigError

LEVEL_VARIABLE = "MR_LOG_LEVEL"
FORMAT_VARIABLE = "MR_LOG_FORMAT"

TEXT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """``{"time", "process", "level", "logger", "message", "thread"[, "error"]}``, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "process": record.process,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def set_up_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Log to standard error as ``MR_LOG_LEVEL`` and ``MR_LOG_FORMAT`` say.

    Raises:
        ConfigError: one of them says something else than it may.
    """
    level = environ.get(LEVEL_VARIABLE, "WARNING").upper()
    if not isinstance(logging.getLevelName(level), int):
        raise ConfigError(f"{LEVEL_VARIABLE}={level!r} is not a level; try INFO")
    form = environ.get(FORMAT_VARIABLE, "text").lower()
    if form not in ("text", "json"):
        raise ConfigError(f"{FORMAT_VARIABLE}={form!r} is no format; use text or json")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])
