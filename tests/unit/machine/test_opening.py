"""From `spec.log` to what the log over Kafka is told."""

from __future__ import annotations

import pathlib

import pytest
from tests.unit.api import examples

from penstock.ingest import secret as secret_port
from penstock.log import port
from penstock.log.kafka import settings as kafka_settings
from penstock.machine import opening, secrets
from penstock.sinks import port as sinks_port

AUTHORITY = pathlib.Path(__file__).parents[2] / "certificates" / "authority.crt"


def _settings(environment: dict[str, str] | None = None, **kafka: object) -> kafka_settings.Settings:
    told = {"bootstrapServers": ["a:1", "b:2"], "partitions": 4} | kafka
    described = examples.made(log={"type": "Kafka", "retention": {"maxBytes": 1 << 30}, "kafka": told})
    store = secrets.SecretStore(pathlib.Path("nowhere"), environment or {}, secrets.names(described))
    return opening.settings_for(described, store)


@pytest.mark.parametrize(("copies", "in_sync"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_a_majority_of_the_copies_must_have_an_event_before_it_is_acknowledged(copies: int, in_sync: int) -> None:
    """Catches an acknowledgement by one copy of three, and a pair that stops when one broker is restarted."""
    found = _settings(replicationFactor=copies)
    assert (found.replication, found.min_in_sync, found.partitions) == (copies, in_sync, 4)
    assert (found.bootstrap, found.max_bytes, found.security.protocol) == ("a:1,b:2", 1 << 30, "PLAINTEXT")


def test_a_password_is_read_from_its_secret_and_stands_in_no_representation() -> None:
    """Catches a login without its password, and one that shows it."""
    reference = {"name": "clicks", "key": "password"}
    login = {"type": "ScramSha512", "username": "u", "passwordSecretRef": reference}
    found = _settings({"PENSTOCK_SECRET_CLICKS_PASSWORD": "hidden"}, authentication=login, tls={})
    assert found.security.login is not None
    assert (found.security.login.user, found.security.login.password) == ("u", "hidden")
    assert (found.security.protocol, "hidden" in repr(found)) == ("SASL_SSL", False)


def test_a_secret_that_is_missing_or_no_certificate_is_named() -> None:
    """Catches a process that starts without its credentials, or dies of a traceback."""
    login = {"type": "Plain", "username": "u", "passwordSecretRef": {"name": "clicks", "key": "password"}}
    with pytest.raises(sinks_port.SinkError) as missing:
        _settings(authentication=login)
    assert 'no secret "clicks"' in missing.value.failure.message
    authority = {"caSecretRef": {"name": "ca", "key": "ca.crt"}}
    with pytest.raises(secret_port.SecretError, match=r"spec.log.kafka.tls: a PEM text can.t be used"):
        _settings({"PENSTOCK_SECRET_CA_CA_CRT": "nonsense"}, tls=authority)


async def test_an_embedded_log_needs_a_directory() -> None:
    """Catches a batcher that opens an empty log of its own."""
    described = examples.made()
    with pytest.raises(port.LogError, match="penstock run"):
        await opening.open_log(described, None, secrets.SecretStore(pathlib.Path("nowhere"), {}, ()))


def test_what_a_cluster_is_shown_follows_its_secrets_and_keeps_the_last_while_they_are_exchanged(tmp_path: pathlib.Path) -> None:
    """Catches a password that is read at the start only, one that is lost with the file for a moment, and an authority that is
    loaded anew for each of many tries to connect."""
    (secret := tmp_path / "broker").mkdir()
    (secret / "password").write_text("old")
    (secret / "ca.crt").write_text(AUTHORITY.read_text())
    login = {"type": "Plain", "username": "u", "passwordSecretRef": {"name": "broker", "key": "password"}}
    told = {"authentication": login, "tls": {"caSecretRef": {"name": "broker", "key": "ca.crt"}}}
    described = examples.made(
        source={"type": "Kafka", "kafka": {"bootstrapServers": ["a:1"], "topics": ["orders"], **told}}, log=None
    )
    source = described.spec.source.kafka
    assert source is not None
    security = opening.security(source, secrets.SecretStore(tmp_path, {}, ()))

    def shown() -> str | None:
        login = security.now().login
        return login and login.password

    assert (shown(), security.now().tls is security.now().tls) == ("old", True)
    (secret / "password").unlink()
    assert shown() == "old"
    (secret / "password").write_text("new")
    (secret / "ca.crt").write_text("half a")
    assert shown() == "old"
    (secret / "ca.crt").write_text(AUTHORITY.read_text())
    assert (shown(), security.now().protocol) == ("new", "SASL_SSL")
