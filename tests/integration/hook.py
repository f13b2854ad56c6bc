"""An HTTP sink's writer as the pipeline object describes it, and what its tests ask of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.sinks import writes

from penstock.api.model import sinks
from penstock.core import delivery, results
from penstock.sinks import port, registry
from penstock.sinks.http import writer as http_writer

NOW = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.UTC)
TOKEN = "Bearer s3cr3t-t0ken"


@contextlib.asynccontextmanager
async def opened(url: str, *, write_timeout_seconds: int = 30, concurrency: int = 4, **http: Any) -> AsyncIterator[Any]:
    """A writer as the pipeline object describes it; its clock says `NOW`."""
    described = {
        "name": "hook",
        "type": "HTTP",
        "http": {"url": url, **http},
        "writeTimeoutSeconds": write_timeout_seconds,
        "batching": {"limits": {"concurrency": concurrency}},
    }
    sink = sinks.Sink.model_validate_json(json.dumps(described))
    writer = registry.open_writer(sink, directory=pathlib.Path(), secrets=secret)
    assert isinstance(writer, http_writer.HttpWriter)
    writer._now = lambda: NOW
    try:
        yield writer
    finally:
        await writer.close()


def secret(name: str, key: str) -> str:
    assert (name, key) == ("hook", "token")
    return TOKEN


def batch(start: int, end: int) -> delivery.SinkBatch:
    return writes.batch(writes.numbered(start, end), writes.span(start, end))


async def failure(writer: port.SinkWriter, told: delivery.SinkBatch) -> results.Failure:
    with pytest.raises(port.SinkError) as caught:
        await writer.write(told)
    return caught.value.failure
