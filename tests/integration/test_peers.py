"""Sink and control servers that let in the processes of their own pipeline, over real channels; no broker is needed."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import AsyncIterator

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration import processes, running
from tests.unit.api import examples

from penstock.api.model import pipeline as api_pipeline
from penstock.batcher.writing import sink_client
from penstock.cli import background
from penstock.core import delivery, failpoints
from penstock.machine import secrets
from penstock.machine.parts import stores
from penstock.machine.peers import gate

_CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
_ROWS = pa.schema([("id", pa.string())])


def _pipeline(path: pathlib.Path) -> api_pipeline.BatchPipeline:
    store = {"name": "warehouse", "type": "DuckDB", "duckDB": {"path": str(path / "a.duckdb"), "table": "t"}}
    return examples.made(sinks=[store])


def _certificates(folder: pathlib.Path, name: str, authority: str = "authority") -> None:
    folder.mkdir(exist_ok=True)
    for source, target in ((f"{name}.crt", "tls.crt"), (f"{name}.key", "tls.key"), (f"{authority}.crt", "ca.crt")):
        shutil.copy(_CERTIFICATES / source, folder / target)


@contextlib.asynccontextmanager
async def _served(path: pathlib.Path, peers: gate.Peers) -> AsyncIterator[str]:
    described = _pipeline(path)
    serving = stores.Stores(secrets.SecretStore(path, {}, ()), failpoints.nothing, peers)
    try:
        await serving.open(described.spec.sinks[0], "127.0.0.1:0")
        yield serving.addresses["warehouse"]
    finally:
        await serving.close()


async def _describe(client: sink_client.SinkClient) -> str:
    """What a lane hears: its identity, or the code of its failure."""
    try:
        return (await client.describe("web/clicks/warehouse", "t", _ROWS, deadline_seconds=20.0)).identity.value
    except delivery.WriteFailedError as error:
        return f"{error.failure.result_class.name} {error.failure.code}"


@contextlib.asynccontextmanager
async def _client(address: str, peers: gate.Peers) -> AsyncIterator[sink_client.SinkClient]:
    client = sink_client.SinkClient(address, dial=peers.channel)
    try:
        yield client
    finally:
        await client.close()


async def test_a_sink_takes_those_who_show_its_token_and_follows_its_changes(tmp_path: pathlib.Path) -> None:
    """Catches a store that anybody in the network can write to, a token that a restart alone renews, a lane that takes a
    refusal for its rows' fault."""
    kept, shown = tmp_path / "kept", tmp_path / "shown"
    kept.write_text("one\n")
    shown.write_text("one\n")
    keeper, guest = gate.Peers(gate.Files(token=kept)).load(), gate.Peers(gate.Files(token=shown)).load()
    async with _served(tmp_path, keeper) as address, _client(address, guest) as known, _client(address, gate.Peers()) as stranger:
        assert await _describe(known) == "Transactional"
        assert await _describe(stranger) == "OUTAGE UNAUTHENTICATED"
        shown.write_text("two\n")
        await guest.reload()
        assert await _describe(known) == "OUTAGE UNAUTHENTICATED"
        kept.write_text("one\ntwo\n")
        await keeper.reload()
        assert await _describe(known) == "Transactional"
        async with grpc.aio.insecure_channel(address) as channel:
            asked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert asked.status == health_pb2.HealthCheckResponse.SERVING


async def test_certificates_are_asked_for_and_renewed_at_both_ends(tmp_path: pathlib.Path) -> None:
    """Catches a client that isn't looked at, plain text beside TLS, and a channel that keeps a certificate that was replaced."""
    server, client = tmp_path / "server", tmp_path / "client"
    _certificates(server, "first")
    _certificates(client, "other-client")
    keeper, guest = gate.Peers(gate.Files(tls=server)).load(), gate.Peers(gate.Files(tls=client)).load()
    async with _served(tmp_path, keeper) as address, _client(address, guest) as lane, _client(address, gate.Peers()) as plain:
        assert await _describe(plain) == "OUTAGE UNAVAILABLE"
        assert await _describe(lane) == "OUTAGE UNAVAILABLE"
        _certificates(client, "client")
        await guest.reload()
        assert await _describe(lane) == "Transactional"
        _certificates(server, "second")
        await keeper.reload()
        _certificates(client, "first")
        await guest.reload()
        assert await _describe(lane) == "Transactional"


@pytest.mark.parametrize("role", ["sink", "run"])
def test_a_server_for_everybody_is_refused_with_the_way_out(tmp_path: pathlib.Path, role: str) -> None:
    """Catches a default that opens the store, or pause and skip, to whoever reaches the address."""
    text = (
        running.changed(log={"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"]}})
        if role == "sink"
        else running.PIPELINE
    )
    (tmp_path / "pipeline.yaml").write_text(text)
    port = background.free_port()
    ports = [f"--{name}=127.0.0.1:{background.free_port()}" for name in ("metrics", *(("http", "grpc") if role == "run" else ()))]
    asked = ["sink", "pipeline.yaml", "warehouse", f"--listen=0.0.0.0:{port}", "--control=127.0.0.1:0"]
    if role == "run":
        asked = ["run", "pipeline.yaml", f"--control=0.0.0.0:{port}"]
    said = running.command(tmp_path, *asked, *ports)
    assert (said.code, f"listen at 0.0.0.0:{port}" in said.err, "--token-file" in said.err) == (1, True, True), said
    missing = running.command(tmp_path, *asked, *ports, "--token-file=nowhere")
    assert (missing.code, "nowhere can't be read" in missing.err) == (1, True), missing


def test_a_command_shows_a_process_its_token_and_certificate(tmp_path: pathlib.Path) -> None:
    """Catches a control server whose lock has no key: nobody could look at, pause or skip what runs in a cluster."""
    kafka = {"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"]}}
    (tmp_path / "pipeline.yaml").write_text(running.changed(log=kafka))
    (tmp_path / "token").write_text("one\n")
    _certificates(tmp_path / "tls", "first")
    locks = ("--token-file=token", "--tls-dir=tls")
    process = processes.Process(tmp_path, "sink", "sink", "pipeline.yaml", "warehouse", *locks, doors=("listen",))
    try:
        process.start()
        at = f"--at=localhost:{process.ports['control']}"
        shown = running.command(tmp_path, "top", at, "-o", "json", *locks)
        assert (shown.code, '"lifecycle": "Running"' in shown.out) == (0, True), shown
        plain = running.command(tmp_path, "top", at, "-o", "json")
        assert (plain.code, "give --tls-dir" in plain.err) == (3, True), plain
        stranger = running.command(tmp_path, "top", at, "-o", "json", "--tls-dir=tls")
        assert (stranger.code, "give it with --token-file" in stranger.err) == (1, True), stranger
        assert process.stop() == 0
    finally:
        process.kill()
