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


def test_what_a_source_is_reached_with_is_watched_too() -> None:
    """Catches a process that keeps an old password of its source for ever, because its own log needs none."""
    reference = {"name": "broker", "key": "password"}
    login = {"type": "Plain", "username": "u", "passwordSecretRef": reference}
    kafka = {"bootstrapServers": ["a:1"], "topics": ["orders"], "authentication": login}
    described = examples.made(source={"type": "Kafka", "kafka": kafka}, log=None)

    def seen(password: str) -> object:
        environment = {"PENSTOCK_SECRET_BROKER_PASSWORD": password}
        return opening.credentials(described, secrets.SecretStore(pathlib.Path("nowhere"), environment, {"broker"}))

    assert seen("old") == seen("old") != seen("new")
    assert opening.credentials(examples.made(), secrets.SecretStore(pathlib.Path("nowhere"), {}, ())) is None
