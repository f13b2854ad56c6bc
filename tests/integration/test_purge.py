"""`penstock purge` on a real broker: a pipeline's topics go, nobody else's, and none while somebody reads them."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Mapping, Sequence

import msgspec
from click import testing
from tests.integration import processes
from tests.servers import kafka

from penstock.api import load
from penstock.cli import main
from penstock.log import port
from penstock.log.kafka import purging
from penstock.machine import lanes, opening, secrets


class _Nobody:
    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


def _purge(file: pathlib.Path, *arguments: str) -> testing.Result:
    return testing.CliRunner().invoke(main.cli, ["purge", "-f", str(file), *arguments])


async def _topics(text: str) -> list[str]:
    pipeline = load.load_one(text)
    asked = purging.Topics(opening.settings_for(pipeline, secrets.SecretStore(pathlib.Path(), {}, ())))
    await asked.open()
    try:
        return await asked.names(f"shop.{pipeline.metadata.name}")
    finally:
        await asked.close()


def test_topics_go_when_the_name_was_said_and_nobody_reads(kafka_server: kafka.Kafka, tmp_path: pathlib.Path) -> None:
    """Catches a purge that acts without being told, under a reader, or on a pipeline whose name begins alike."""
    text = processes.pipeline(kafka_server.bootstrap)
    pipeline = load.load_one(text)
    described = msgspec.yaml.decode(text)
    described["metadata"]["name"] += "x"
    alike = msgspec.yaml.encode(described).decode()
    file, name = tmp_path / "pipeline.yaml", pipeline.metadata.name
    file.write_text(text)

    async def read() -> testing.Result:
        log = await opening.open_log(pipeline, None, secrets.SecretStore(pathlib.Path(), {}, ()))
        lane = lanes.lane_for(pipeline, pipeline.spec.sinks[0]).lane
        subscription = await log.subscribe(port.EVENTS, lane, _Nobody())
        await subscription.poll(max_bytes=1, timeout_seconds=0.0)
        try:
            return await asyncio.to_thread(_purge, file, "--yes", name)
        finally:
            await subscription.close()
            await log.close()

    async def make(other: str) -> None:
        log = await opening.open_log(load.load_one(other), None, secrets.SecretStore(pathlib.Path(), {}, ()))
        await log.close()

    asyncio.run(make(alike))
    said = asyncio.run(read())
    assert (said.exit_code, "processes of the pipeline run" in said.output) == (1, True), said.output
    there = asyncio.run(_topics(text))
    assert f"shop.{name}.events" in there
    said = _purge(file)
    assert (said.exit_code, "would delete" in said.output, "nothing was done" in said.output) == (0, True, True)
    assert _purge(file, "--yes", "other").exit_code == 1
    assert asyncio.run(_topics(text)) == there
    said = _purge(file, "--yes", name)
    assert said.exit_code == 0, said.output
    left = asyncio.run(_topics(text))
    assert left == [one for one in there if one.startswith(f"shop.{name}x.")]
    assert left
    assert "there are no topics" in _purge(file, "--yes", name).output
