"""How the daemon's log looks: a console on a terminal, one JSON object a line otherwise. Always on stderr."""

import logging
import sys
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any

import orjson
import structlog


class Format(StrEnum):
    """How a line looks. `auto`: as for a console on a terminal, JSON otherwise."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Level(StrEnum):
    """The least grave events that are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(dict(event), default=str).decode()


def _without_empty_hint(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if not event.get("hint", True):
        del event["hint"]
    return event


def configure(*, json: bool | None = None, level: str = "info") -> None:
    """Set up structlog. `json` None: JSON unless stderr is a terminal. `level` is one of debug, info, warning, error."""
    # psycopg tells of broken connections by itself too; they come here translated.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    render: structlog.typing.Processor = structlog.dev.ConsoleRenderer()
    if not sys.stderr.isatty() if json is None else json:
        render = _json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_empty_hint,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
