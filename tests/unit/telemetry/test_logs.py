"""Logs have one form whoever writes them, carry no payloads, and are called with constant event names."""

from __future__ import annotations

import ast
import io
import json
import logging
import pathlib
import re
from collections.abc import Iterator

import pytest
import structlog

from penstock.telemetry import logs

SOURCES = pathlib.Path(__file__).parents[3] / "services"
LOGGERS = {"log", "_log", "logger", "_logger"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_pipe_gets_one_json_object_per_line(stream: io.StringIO) -> None:
    """Catches a renderer chosen without looking at the stream, and fields that are lost on the way."""
    structlog.get_logger("penstock.batcher.lane", sink="warehouse").info("batch_landed", rows=18_400)
    (line,) = lines(stream)
    assert line.pop("time")
    assert line == {
        "event": "batch_landed",
        "level": "info",
        "logger": "penstock.batcher.lane",
        "sink": "warehouse",
        "rows": 18_400,
    }


def test_a_terminal_gets_a_readable_line() -> None:
    """Catches JSON thrown at a person."""
    terminal = Terminal()
    logs.configure(stream=terminal)
    structlog.get_logger("penstock").info("batch_landed", rows=3)
    assert "batch_landed" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_bound_fields_are_on_every_line(stream: io.StringIO) -> None:
    """Catches context fields that are not merged."""
    structlog.contextvars.bind_contextvars(pipeline="clicks")
    structlog.get_logger("a").info("one")
    structlog.get_logger("b").info("two")
    assert [line["pipeline"] for line in lines(stream)] == ["clicks", "clicks"]


def test_a_logger_without_a_name_is_named_after_its_module(stream: io.StringIO) -> None:
    """Catches lines that do not say where they come from; most modules just ask for a logger."""
    structlog.get_logger().info("batch_landed")
    assert lines(stream)[0]["logger"] == __name__


def test_what_libraries_log_has_the_same_form(stream: io.StringIO) -> None:
    """Catches plain-text lines between the JSON ones."""
    logging.getLogger("some.library").warning("pool of %d is empty", 4)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("pool of 4 is empty", "warning", "some.library")


def test_libraries_that_tell_every_request_are_kept_to_warnings(stream: io.StringIO) -> None:
    """Catches an access log with one line per request."""
    logging.getLogger("aiohttp.access").info("POST /v1/events 202")
    logging.getLogger("aiohttp.access").warning("too slow")
    assert [line["event"] for line in lines(stream)] == ["too slow"]


def test_the_level_is_honoured() -> None:
    """Catches a level that is accepted but not applied."""
    stream = io.StringIO()
    logs.configure(level="WARNING", stream=stream)
    structlog.get_logger("a").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize(
    "value", [b"secret", bytearray(b"secret"), memoryview(b"secret")], ids=lambda value: type(value).__name__
)
def test_bytes_are_replaced_by_their_size(stream: io.StringIO, value: object) -> None:
    """Catches an event's own bytes in a log line."""
    structlog.get_logger("a").info("refused", original=value)
    assert lines(stream)[0]["original"] == "<6 bytes>"


def test_long_text_is_cut(stream: io.StringIO) -> None:
    """Catches a whole document quoted in an error message."""
    structlog.get_logger("a").info(
        "refused", message="x" * (logs.TEXT_LIMIT_CHARACTERS + 7), short="y" * logs.TEXT_LIMIT_CHARACTERS
    )
    (line,) = lines(stream)
    assert line["message"] == "x" * logs.TEXT_LIMIT_CHARACTERS + "… (+7 characters)"
    assert line["short"] == "y" * logs.TEXT_LIMIT_CHARACTERS


def test_an_exception_is_data(stream: io.StringIO) -> None:
    """Catches a traceback that breaks the line into many."""
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("a").exception("write_failed")
    (line,) = lines(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"  # type: ignore[index]


def test_event_names_in_the_sources_are_constants() -> None:
    """Catches an f-string, a sentence or a variable as the event of a log call anywhere in the product."""
    wrong = [
        f"{path.relative_to(SOURCES)}:{call.lineno}"
        for path in SOURCES.rglob("*.py")
        for call in log_calls(ast.parse(path.read_text(), str(path)))
        if not (call.args and constant_name(call.args[0]))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ("log.info('batch_landed', rows=1)", True),
        ("self._log.error('batch_landed')", True),
        ("structlog.get_logger().error('batch_landed')", True),
        ("structlog.get_logger(__name__).error(event)", False),
        ("log.info(f'landed {n}')", False),
        ("log.info('Landed a batch')", False),
        ("log.info(name)", False),
        ("log.info()", False),
    ],
)
def test_the_reader_of_log_calls_sees_what_it_should(source: str, *, fine: bool) -> None:
    """Catches a check above that could not fail."""
    (call,) = log_calls(ast.parse(source))
    assert bool(call.args and constant_name(call.args[0])) is fine


def log_calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=target, attr=level)) if level in LEVELS and is_logger(target):
                yield node


def is_logger(target: ast.expr) -> bool:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in LOGGERS
        case ast.Call(func=ast.Attribute(attr="get_logger") | ast.Name(id="get_logger")):
            return True
    return False


def constant_name(argument: ast.expr) -> bool:
    text = argument.value if isinstance(argument, ast.Constant) else None
    return isinstance(text, str) and re.fullmatch(r"[a-z][a-z0-9_.]*", text) is not None
