"""Structured logs: one JSON object per line in a pod, a readable line on a terminal.

Call sites say `structlog.get_logger()`. An event name is a constant and what varies goes into fields, so that logs can be
counted and searched; tests read the sources to hold the call sites to it. Events' own bytes never belong in a log: whatever
slips through is replaced by its size, and long text is cut. What libraries log through `logging` comes out in the same form.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor, WrappedLogger

TEXT_LIMIT_CHARACTERS = 500
"""Longer text in a field is cut here: an error message fits, an event does not."""

# These tell at INFO or below what our own events tell better, request by request.
_CHATTY_LIBRARIES = ("aiohttp.access", "asyncio", "grpc")
_SILENT_LIBRARIES = ("aiokafka",)
"""Theirs are many lines a second while brokers are away; ours say the same once."""


def configure(*, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send everything at `level` and above to `stream` (standard error by default). Call once, at the entry point."""
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(terminal=target.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in _SILENT_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


# Local variables of a frame may be events or credentials.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _common() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        without_payloads,
    ]


def _formatter(*, terminal: bool) -> logging.Formatter:
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


def without_payloads(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace bytes by their size and cut long text, in every field."""
    return {key: _harmless(value) for key, value in event.items()}


def _harmless(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > TEXT_LIMIT_CHARACTERS:
        return f"{value[:TEXT_LIMIT_CHARACTERS]}… (+{len(value) - TEXT_LIMIT_CHARACTERS} characters)"
    return value
