"""The metrics as a scraper gets them, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import parser

import penstock
from penstock.telemetry import exposition


@pytest_asyncio.fixture
async def served() -> AsyncIterator[exposition.MetricsServer]:
    running = exposition.MetricsServer("127.0.0.1:0")
    await running.start()
    yield running
    await running.close()


async def scrape(server: exposition.MetricsServer, accept: str) -> tuple[str, str]:
    def fetch() -> tuple[str, str]:
        request = urllib.request.Request(f"http://{server.address}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.headers["Content-Type"], reply.read().decode()

    return await asyncio.to_thread(fetch)


async def test_a_scrape_can_be_read_by_prometheus(served: exposition.MetricsServer) -> None:
    """Catches a registry other than ours, and build information that is never set."""
    content_type, text = await scrape(served, "text/plain")
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert content_type.startswith("text/plain")
    assert families["penstock_build_info"].samples[0].labels == {"version": penstock.__version__}


async def test_open_metrics_is_spoken_when_asked_for(served: exposition.MetricsServer) -> None:
    """Catches a fixed format, which would lose the exemplars."""
    content_type, text = await scrape(served, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_the_port_is_free_after_close() -> None:
    """Catches a listening socket that outlives its owner."""
    first = exposition.MetricsServer("127.0.0.1:0")
    await first.start()
    await first.close()
    second = exposition.MetricsServer(first.address)
    await second.start()
    await second.close()
    assert second.address == first.address


async def test_a_taken_port_is_an_error_at_start() -> None:
    """Catches a bind failure that is only logged."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = exposition.MetricsServer(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(OSError, match="in use"):
            await server.start()
