"""Tokens and TLS at both doors, and what a change of the files does to a running service."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import grpc
import pytest
import structlog.testing
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.unit.api import examples

from penstock.cli.sending import door, sender
from penstock.core import schema as schemas
from penstock.ingest import secret, service
from penstock.log.embedded import front as embedded
from penstock.machine import directory, secrets
from penstock.machine import service as machine
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_CERTIFICATES = pathlib.Path(__file__).parent.parent / "certificates"
_SCHEMA = schemas.Schema(fields=(schemas.Field(name="id", type=schemas.FieldType.STRING, required=True),))
_EVENT = b'{"id":"a"}'


class Files:
    """Secrets as a person keeps them: `put` changes files, nothing is told to the service."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.store = secrets.SecretStore(folder, {}, ["door"])

    def put(self, **values: bytes) -> None:
        (self._folder / "door").mkdir(parents=True, exist_ok=True)
        for path in (self._folder / "door").iterdir():
            path.unlink()
        for key, value in values.items():
            (self._folder / "door" / key.replace("_", ".")).write_bytes(value)

    def put_certificate(self, name: str, key: str = "", authority: str = "") -> None:
        told = {"tls_crt": _pem(f"{name}.crt"), "tls_key": _pem(f"{key or name}.key")}
        self.put(**told, **({"ca_crt": _pem(f"{authority}.crt")} if authority else {}))


def _pem(name: str) -> bytes:
    return (_CERTIFICATES / name).read_bytes()


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Files:
    return Files(tmp_path / "secrets")


@pytest.fixture
async def log(tmp_path: pathlib.Path) -> AsyncIterator[embedded.EmbeddedLog]:
    opened = await embedded.EmbeddedLog.open(tmp_path / "log.db", partitions=1)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def _started(log: embedded.EmbeddedLog, **locks: secret.Secret) -> AsyncIterator[service.IngestService]:
    settings = service.IngestSettings(
        namespace="web", pipeline="clicks", schema=_SCHEMA, grpc_address="127.0.0.1:0", http_address="127.0.0.1:0"
    )
    ingest = service.IngestService(settings, log, **locks)
    await ingest.start()
    try:
        yield ingest
    finally:
        await ingest.close()


async def _posted(address: str, **headers: str) -> tuple[int, Any, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://{address}/v1/events", data=_EVENT, headers=headers) as response,
    ):
        return response.status, await response.json(content_type=None), response.headers


async def _published(address: str, token: str = "", credentials: grpc.ChannelCredentials | None = None) -> str:
    """The name of the status."""
    channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    async with channel:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            call = ingest_pb2_grpc.IngestStub(channel).Publish(
                ingest_pb2.PublishRequest(ndjson=_EVENT), metadata=metadata, timeout=20
            )
            return "OK" if (await call).accepted else "none accepted"
        except grpc.aio.AioRpcError as error:
            return error.code().name


async def test_only_tokens_open_both_doors_and_a_change_needs_no_restart(log: embedded.EmbeddedLog, files: Files) -> None:
    """Catches one door left open, probes that need a token, a revoked token that opens, and a token in the log."""
    files.put(alice=b"first-token\n")
    with structlog.testing.capture_logs() as logged:
        async with _started(log, tokens=files.store.named("door")) as ingest:
            status, problem, headers = await _posted(ingest.ports.http)
            assert (status, problem["status"], headers["Content-Type"]) == (401, 401, "application/problem+json")
            assert headers["WWW-Authenticate"] == 'Bearer realm="penstock"'
            wrong = await _posted(ingest.ports.http, Authorization="Bearer wrong-token")
            assert (wrong[0], "invalid_token" in wrong[2]["WWW-Authenticate"]) == (401, True)
            assert (await _posted(ingest.ports.http, Authorization="Bearer first-token"))[0] == 202
            given = [await _published(ingest.ports.grpc, token) for token in ("", "wrong-token", "first-token")]
            assert given == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]
            async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
                health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            async with aiohttp.ClientSession() as client, client.get(f"http://{ingest.ports.http}/readyz") as ready:
                assert ready.status == 200
            files.put(alice=b"second-token")
            await ingest.reload()
            now = [(await _posted(ingest.ports.http, Authorization=f"Bearer {t}-token"))[0] for t in ("first", "second")]
            assert now == [401, 202]
            assert ingest.stats().refused_requests == 5
    assert "-token" not in str(logged)


async def test_a_stream_ends_when_its_token_is_revoked(log: embedded.EmbeddedLog, files: Files) -> None:
    """Catches a stream that goes on for as long as the connection lives."""
    files.put(alice=b"first-token")
    async with _started(log, tokens=files.store.named("door")) as ingest, grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        call = ingest_pb2_grpc.IngestStub(channel).PublishStream(metadata=(("authorization", "Bearer first-token"),))
        await call.write(ingest_pb2.PublishRequest(sequence=1, ndjson=_EVENT))
        assert (await call.read()).accepted == 1
        files.put(alice=b"second-token")
        await ingest.reload()
        await call.write(ingest_pb2.PublishRequest(sequence=2, ndjson=_EVENT))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ingest.stats().accepted == 1


def _client(certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_CERTIFICATES / "authority.crt")
    if certificate:
        context.load_cert_chain(_CERTIFICATES / f"{certificate}.crt", _CERTIFICATES / f"{certificate}.key")
    return context


def _channel(certificate: str = "") -> grpc.ChannelCredentials:
    own = (_pem(f"{certificate}.key"), _pem(f"{certificate}.crt")) if certificate else (None, None)
    return grpc.ssl_channel_credentials(_pem("authority.crt"), *own)


async def _shown(address: str, certificate: str = "") -> str:
    """The name in the certificate of the HTTP door, or what a client without the right one sees."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=_client(certificate))
    try:
        (name,) = [value for ((kind, value),) in writer.get_extra_info("peercert")["subject"] if kind == "commonName"]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        return str(name) if answer.startswith(b"HTTP/1.1 200") else "refused"
    except (ssl.SSLError, ConnectionError):
        return "refused"
    finally:
        writer.close()


_BAD_FILES = {
    "expired": {"name": "expired"},
    "another key": {"name": "first", "key": "second"},
    "clients asked for": {"name": "first", "authority": "authority"},
}


async def test_a_new_certificate_is_served_and_connections_stand(log: embedded.EmbeddedLog, files: Files) -> None:
    """Catches a certificate read once for good, and a reload that drops its clients."""
    files.put_certificate("first")
    async with (
        _started(log, certificate=files.store.named("door")) as ingest,
        grpc.aio.secure_channel(ingest.ports.grpc, _channel()) as standing,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=_client())) as client,
    ):
        call = ingest_pb2_grpc.IngestStub(standing).PublishStream()
        for number, name in enumerate(["first", "second"]):
            files.put_certificate(name)
            await ingest.reload()
            assert await _shown(ingest.ports.http) == name
            assert await _published(ingest.ports.grpc, credentials=_channel()) == "OK"
            await call.write(ingest_pb2.PublishRequest(sequence=number, ndjson=_EVENT))
            assert (await call.read()).accepted == 1
            async with client.post(f"https://{ingest.ports.http}/v1/events", data=_EVENT) as response:
                assert response.status == 202
        assert await _published(ingest.ports.grpc) == "UNAVAILABLE"


@pytest.mark.parametrize("bad", _BAD_FILES)
async def test_bad_files_leave_the_old_certificate_and_are_told(log: embedded.EmbeddedLog, files: Files, bad: str) -> None:
    """Catches a door broken by a half-written or stale file, and by one that would lock every client out or in."""
    files.put_certificate("second")
    async with _started(log, certificate=files.store.named("door")) as ingest:
        files.put_certificate(**_BAD_FILES[bad])
        with structlog.testing.capture_logs() as logged:
            await ingest.reload()
        assert [(line["event"], line["log_level"]) for line in logged] == [("certificate_not_reloaded", "error")]
        assert await _shown(ingest.ports.http) == "second"
        assert await _published(ingest.ports.grpc, credentials=_channel()) == "OK"


@pytest.mark.parametrize("authority", ["authority", "other-authority"])
async def test_clients_show_a_certificate_of_the_newest_authority(
    log: embedded.EmbeddedLog, files: Files, authority: str
) -> None:
    """Catches clients that nobody asks, and an old authority that is still believed after it was replaced."""
    files.put_certificate("first", authority="authority")
    opens = "client" if authority == "authority" else "other-client"
    async with _started(log, certificate=files.store.named("door")) as ingest:
        files.put_certificate("first", authority=authority)
        await ingest.reload()
        for certificate in ("", "client", "other-client"):
            is_right = certificate == opens
            assert await _shown(ingest.ports.http, certificate) == ("first" if is_right else "refused")
            status = await _published(ingest.ports.grpc, credentials=_channel(certificate))
            assert status == ("OK" if is_right else "UNAVAILABLE")


@pytest.mark.parametrize("bad", ["expired", "another key"])
async def test_a_service_does_not_start_with_bad_files(log: embedded.EmbeddedLog, files: Files, bad: str) -> None:
    """Catches a start in plain text, or with a certificate that no client believes."""
    files.put_certificate(**_BAD_FILES[bad])
    with pytest.raises(secret.SecretError, match='secret "door"'):
        async with _started(log, certificate=files.store.named("door")):
            pass


@pytest.fixture
def locked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    ingest = {"auth": {"type": "BearerToken", "secretRef": {"name": "door"}}, "tls": {"secretRef": {"name": "door-tls"}}}
    sink = {"name": "w", "type": "DuckDB", "duckDB": {"path": "out.db", "table": "t"}}
    return examples.made(source={"ingest": ingest}, sinks=[sink])


def _known(pipeline: Any, environment: dict[str, str]) -> secrets.SecretStore:
    return secrets.SecretStore(pathlib.Path("secrets"), environment, secrets.names(pipeline))


async def test_a_pipeline_on_one_machine_takes_its_locks_from_the_environment(locked: Any, tmp_path: pathlib.Path) -> None:
    """Catches a pipeline that asks for tokens or TLS and runs without, and a start that does not say which secret is missing."""
    addresses = machine.Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0", metrics="127.0.0.1:0")
    data = directory.DataDirectory(tmp_path / "data")
    with pytest.raises(secret.SecretError, match="PENSTOCK_SECRET_DOOR_<KEY>"):
        await machine.Machine(locked, machine.everything(locked, data), addresses, _known(locked, {}), data).start()
    environment = {
        "PENSTOCK_SECRET_DOOR_ALICE": "a-token",
        "PENSTOCK_SECRET_DOOR_TLS_TLS_CRT": _pem("first.crt").decode(),
        "PENSTOCK_SECRET_DOOR_TLS_TLS_KEY": _pem("first.key").decode(),
    }
    running = machine.Machine(locked, machine.everything(locked, data), addresses, _known(locked, environment), data)
    await running.start()
    try:
        given = [await _published(running.grpc_address, token, _channel()) for token in ("", "a-token")]
        assert given[0] == "UNAUTHENTICATED"
        assert given[1] in {"OK", "none accepted"}
        assert await _shown(running.http_address) == "first"
    finally:
        await running.close()


async def test_the_sender_gets_through_a_locked_door_with_its_token_and_the_certificate(
    log: embedded.EmbeddedLog, files: Files, tmp_path: pathlib.Path
) -> None:
    """Catches a `penstock send` that can't reach the doors a careful person has locked."""
    files.put_certificate("first")
    tokens = Files(tmp_path / "tokens")
    tokens.put(shop=b"s3cret-token-of-the-shop")
    async with _started(log, certificate=files.store.named("door"), tokens=tokens.store.named("door")) as ingest:
        let_in = door.Door(address=ingest.ports.grpc, tls=True, ca=_pem("authority.crt"), token="s3cret-token-of-the-shop")
        totals = await sender.StreamSender(let_in, [[_EVENT]]).run()
        assert totals.accepted == 1
