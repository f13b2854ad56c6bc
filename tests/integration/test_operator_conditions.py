"""From what real pods say over Control to the conditions: no broker, no password, a wrong one, a store that refuses."""

from __future__ import annotations

import http.server
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.integration import processes, running
from tests.servers import kafka
from tests.unit.operator import situations as given

from penstock.cli import background
from penstock_operator import snapshot
from penstock_operator.edge import asking


class _Refusing(http.server.BaseHTTPRequestHandler):
    """A store that knows nobody."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def refusing_store() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def _report(process: processes.Process, role: str) -> snapshot.PodReport | None:
    said = process.status()
    return asking.report(process.name, role, process.address, said) if said else None


def _until(process: processes.Process, role: str, condition: str, reason: str, **spec: Any) -> dict[str, Any]:
    """Wait until the object would have this condition with this reason; it."""
    there = given.up(**spec)

    def so() -> dict[str, Any] | None:
        process.check_alive()
        report = _report(process, role)
        told = given.current(there, *([report] if report else []))
        return next((one for one in told["conditions"] if (one["type"], one["reason"]) == (condition, reason)), None)

    return running.until(so, process.said)


def _doors(path: pathlib.Path, text: str) -> processes.Process:
    (path / "pipeline.yaml").write_text(text)
    return processes.Process(path, "ingest", "ingest", "pipeline.yaml", doors=("http", "grpc"))


def test_brokers_that_nobody_reaches_are_told_as_such(tmp_path: pathlib.Path) -> None:
    """Catches a condition that is guessed from counts, and one that stays Unknown while nothing has been read yet."""
    doors = _doors(tmp_path, processes.pipeline(f"127.0.0.1:{background.free_port()}"))
    doors.start(wait=False)
    try:
        told = _until(doors, "ingest", "LogReachable", "Unreachable")
        assert (told["status"], "connecting to 127.0.0.1" in told["message"]) == ("False", True)
    finally:
        doors.kill()


def test_a_missing_secret_and_a_wrong_password_are_told_apart_from_brokers_that_are_away(
    kafka_server: kafka.Kafka, tmp_path: pathlib.Path
) -> None:
    """Catches a person who looks for a network fault while a password has expired."""
    login = {"type": "ScramSha512", "username": kafka.USER, "passwordSecretRef": {"name": "broker", "key": "password"}}
    described = msgspec.yaml.decode(processes.pipeline(kafka_server.secure))
    described["spec"]["log"]["kafka"] |= {
        "authentication": login,
        "tls": {"caSecretRef": {"name": "broker", "key": "ca.crt"}},
    }
    log = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "authentication": login}}
    doors = _doors(tmp_path, msgspec.yaml.encode(described).decode())
    doors.start(wait=False)
    try:
        told = _until(doors, "ingest", "LogReachable", "SecretMissing", log=log)
        assert "put right: Secret broker (password)" in told["message"]
        secret = tmp_path / "secrets" / "broker"
        secret.mkdir(parents=True)
        (secret / "ca.crt").write_bytes(kafka.AUTHORITY.read_bytes())
        (secret / "password").write_text("wrong")
        told = _until(doors, "ingest", "LogReachable", "CredentialsRejected", log=log)
        assert "put right: Secret broker (password)" in told["message"]
        (secret / "password").write_text(kafka.PASSWORD)
        _until(doors, "ingest", "LogReachable", "Reachable", log=log)
    finally:
        doors.kill()


def test_a_store_that_refuses_us_is_told_from_one_that_is_away(
    kafka_server: kafka.Kafka, refusing_store: str, tmp_path: pathlib.Path
) -> None:
    """Catches `CircuitOpen` for a password, and a Secret's key that is missing without a word of it."""
    header = {"name": "X-Token", "secretKeyRef": {"name": "store", "key": "token"}}
    store = {"type": "HTTP", "duckDB": None, "http": {"url": refusing_store, "headers": [header]}}
    described = msgspec.yaml.decode(processes.pipeline(kafka_server.bootstrap, **store))
    del described["spec"]["sinks"][0]["duckDB"]
    shown = {"sinks": [{"name": "warehouse", "type": "HTTP", "http": {"url": "http://store:1/", "headers": [header]}}]}
    with processes.Site(tmp_path, msgspec.yaml.encode(described).decode()) as site:
        batcher = site.batcher()
        for process in (site.sink, site.doors, batcher):
            process.start(wait=False)
        told = _until(batcher, "batcher", "Landing", "SecretMissing", **shown)
        assert "Secret store (token)" in told["message"]
        secret = tmp_path / "secrets" / "store"
        secret.mkdir(parents=True)
        (secret / "token").write_text("t")
        running.until(lambda: True if site.doors.probe("readyz") == 200 else site.doors.check_alive(), site.doors.said)
        running.until(lambda: True if batcher.probe("readyz") == 200 else batcher.check_alive(), batcher.said)
        site.send(10)
        told = _until(batcher, "batcher", "Landing", "CredentialsRejected", **shown)
        assert "Secret store (token)" in told["message"]
