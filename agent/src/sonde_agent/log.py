"""Log lines: an event word and key=value, to stderr; JSON where nobody sits before it.

Only what is needed of structlog is configured: its console renderer loads rich where that is installed, which
costs an agent several MB.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

DEBUG_VARIABLE = "SONDE_DEBUG"


def configure(stream: TextIO = sys.stderr) -> None:
    """Send log lines to `stream`: JSON, or for a terminal plain text. $SONDE_DEBUG=1 adds debug lines."""
    level = logging.DEBUG if debug() else logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception,
            _line if stream.isatty() else structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def debug() -> bool:
    """Whether $SONDE_DEBUG asks for debug lines and tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put an exception as one field: where it was raised, and the whole traceback only when asked for."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event.setdefault("error", repr(error))
        if frames:
            event["at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
        if debug():
            event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """Render for a terminal: time, level, event, key=value."""
    at, level, word = event.pop("timestamp"), event.pop("level"), event.pop("event")
    trace = event.pop("traceback", "")
    pairs = " ".join(f"{key}={_value(value)}" for key, value in event.items())
    return f"{at[11:23]} {level:<7} {word:<22} {pairs}".rstrip() + (f"\n{trace.rstrip()}" if trace else "")


def _value(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text
