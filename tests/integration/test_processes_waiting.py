"""Processes that are started before what they need: they stay up, say what they wait for, and go on by themselves."""

from __future__ import annotations

import json
import pathlib
import signal

import msgspec
import pytest
from tests.integration import processes, running
from tests.servers import kafka

from penstock.cli import background


def _secure(bootstrap: str, authentication: str) -> str:
    described = msgspec.yaml.decode(processes.pipeline(bootstrap))
    described["spec"]["log"]["kafka"] |= {
        "authentication": {
            "type": authentication,
            "username": kafka.USER,
            "passwordSecretRef": {"name": "broker", "key": "password"},
        },
        "tls": {"caSecretRef": {"name": "broker", "key": "ca.crt"}},
    }
    return msgspec.yaml.encode(described).decode()


def test_credentials_that_come_late_are_waited_for_and_used(kafka_server, tmp_path: pathlib.Path) -> None:
    """Catches a pod that dies of a Secret which is mounted a moment later or holds the wrong password, and a log that `run`
    reaches with SCRAM and TLS while the commands that ask its brokers do not."""
    with processes.Site(tmp_path, _secure(kafka_server.secure, "ScramSha512")) as site:
        waiting = [site.doors, site.batcher()]
        for process in [*waiting, site.sink]:
            process.start(wait=False)

        def until(said: str) -> None:
            for process in waiting:
                running.until(lambda one=process: True if said in one.why_not_ready() else one.check_alive(), process.said)

        until('no secret "broker"')
        assert [one.probe("livez") for one in waiting] == [200, 200]
        secret = tmp_path / "secrets" / "broker"
        secret.mkdir(parents=True)
        (secret / "ca.crt").write_bytes(kafka.AUTHORITY.read_bytes())
        (secret / "password").write_text("wrong")
        until("uthentication")
        assert all("waits for" in status.message for status in (one.status() for one in waiting) if status)
        (secret / "password").write_text(kafka.PASSWORD)
        for process in [*waiting, site.sink]:
            running.until(lambda one=process: True if one.probe("readyz") == 200 else one.check_alive(), process.said)
        site.send(600)
        site.settle()
        plain = site.file.with_name("plain.yaml")
        plain.write_text(site.file.read_text().replace("ScramSha512", "Plain"))
        found = running.command(tmp_path, "where", "customer=7", "id=e7", "-f", str(plain))
        assert (found.code, "warehouse: Landed" in found.out or "warehouse: Settled" in found.out) == (0, True), found
        shown = running.command(tmp_path, "top", "-f", str(plain), "-o", "json")
        (lane,) = json.loads(shown.out)["lanes"]
        assert (shown.code, lane["ledger"]["eventsRead"], lane["lag"]["events"]) == (0, "600", "0"), shown


@pytest.mark.parametrize(("role", "number", "code"), [("ingest", signal.SIGTERM, 0), ("run", signal.SIGINT, 130)])
def test_brokers_that_are_away_at_the_start_are_waited_for_until_somebody_ends_it(
    tmp_path: pathlib.Path, role: str, number: signal.Signals, code: int
) -> None:
    """Catches an exit, which a cluster answers with longer and longer pauses, and a wait that a signal can't end."""
    (tmp_path / "pipeline.yaml").write_text(processes.pipeline(f"127.0.0.1:{background.free_port()}"))
    process = processes.Process(tmp_path, role, role, "pipeline.yaml", doors=("http", "grpc"))
    process.start(wait=False)
    try:
        running.until(lambda: True if '"waiting"' in process.said() else process.check_alive(), process.said)
        if role == "ingest":
            assert (process.probe("livez"), "connecting to 127.0.0.1" in process.why_not_ready()) == (200, True)
        process.signal(number)
        assert process.process is not None
        assert process.process.wait(timeout=running.PATIENCE_SECONDS) == code
        assert "Traceback" not in process.all_said()
    finally:
        process.kill()
