"""Credentials of a log and of a source in Kafka that change while they are in use, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import uuid

import pytest
from confluent_kafka import admin
from tests.integration import kafka_sink, kafka_source, lane_run, source_run
from tests.integration.test_kafka_log import LONG_SECONDS, Member, until
from tests.integration.test_kafka_log_faults import SHORT, append_until_known, read_all, running_again
from tests.servers import kafka

from penstock.api.model import log as api_log
from penstock.log import port
from penstock.log.kafka import front
from penstock.log.kafka import settings as kafka_settings
from penstock.machine import opening, secrets


def set_password(bootstrap: str, user: str, password: str) -> None:
    """As `kafka-configs` does; the user is made where there is none."""
    told = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)
    wanted = admin.UserScramCredentialUpsertion(user, told, password.encode())
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    for done in client.alter_user_scram_credentials([wanted]).values():
        done.result(20.0)


def _secured(kafka_server: kafka.Kafka, user: str, folder: pathlib.Path) -> kafka_settings.Settings:
    """A log whose password is a file."""
    told = api_log.KafkaLog.model_validate(
        {
            "bootstrapServers": (kafka_server.secure,),
            "authentication": {
                "type": "ScramSha512",
                "username": user,
                "passwordSecretRef": {"name": "broker", "key": "password"},
            },
            "tls": {"caSecretRef": {"name": "broker", "key": "ca.crt"}},
        }
    )
    return kafka_settings.Settings(
        bootstrap=kafka_server.secure,
        prefix=uuid.uuid4().hex,
        partitions=1,
        replication=1,
        min_in_sync=1,
        patience=SHORT,
        security=opening.security(told, secrets.SecretStore(folder, {}, ())),
    )


@pytest.mark.parametrize("file_first", [True, False], ids=["the file first", "the broker first"])
async def test_a_password_that_changes_is_used_by_the_next_connection(kafka_server, tmp_path, file_first):
    """Catches a process that must be started again for a new password, one that gives up while only the broker knows it, and a
    producer, a consumer or a question that keeps the old one."""
    user = f"u{uuid.uuid4().hex}"
    set_password(kafka_server.bootstrap, user, "old")
    (secret := tmp_path / "broker").mkdir()
    shutil.copy(kafka.AUTHORITY, secret / "ca.crt")
    (secret / "password").write_text("old")
    log = await front.KafkaLog.open(_secured(kafka_server, user, tmp_path))
    member = Member()
    member.subscription = await log.subscribe(port.EVENTS, "lane", member)
    reading = asyncio.create_task(read_all(member))
    await append_until_known(log, 0)
    await until(lambda: len(member.read) == 1)
    set_password(kafka_server.bootstrap, user, "new")
    if file_first:
        (secret / "password").write_text("new")
    # Brokers leave connections alone that are open: nothing has to be told apart here.
    await append_until_known(log, 1)
    await until(lambda: len(member.read) == 2)
    async with running_again(kafka_server.broker):
        await asyncio.to_thread(kafka_server.broker.stop)
    if not file_first:
        with pytest.raises(port.LogUnavailableError):
            await log.append(port.EVENTS, 0, _record(2))
        with pytest.raises(port.LogUnavailableError):
            await log.bounds(port.EVENTS, 0)
        (secret / "password").write_text("new")
    await append_until_known(log, 2)
    await until(lambda: len(member.read) >= 3)
    async with asyncio.timeout(LONG_SECONDS):
        assert (await log.bounds(port.EVENTS, 0)).end == 3
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await log.close()


def _record(sequence: int) -> port.NewRecord:
    return port.NewRecord(value=b"value", headers={}, producer="p", sequence=sequence)


async def test_a_source_is_read_with_the_certificate_that_is_mounted_now(kafka_server, tmp_path):
    """Catches a certificate that nobody shows to the brokers of a source, and one that a restart alone renews."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, partitions=1)
    told = {
        "authentication": {"type": "Tls", "secretRef": {"name": "own"}},
        "tls": {"caSecretRef": {"name": "own", "key": "ca.crt"}},
    }
    (secret := tmp_path / "secrets" / "own").mkdir(parents=True)
    shutil.copy(kafka.AUTHORITY, secret / "ca.crt")
    run = source_run.SourceRun(tmp_path, kafka_source.pipeline(kafka_server.mutual, [topic], source=told))
    _mount(secret, "other-client")
    async with run.opened():
        with pytest.raises(port.LogUnavailableError, match=r"127\.0\.0\.1"):
            async with asyncio.timeout(LONG_SECONDS):
                await run.open_log()
        _mount(secret, "client")
        async with run.lane() as lane:
            kafka_source.produce(kafka_server.bootstrap, topic, [kafka_source.order(0)])
            await lane_run.until(lambda: lane.accounts.totals().written == 1, LONG_SECONDS)
            _mount(secret, "other-client")
            async with running_again(kafka_server.broker):
                await asyncio.to_thread(kafka_server.broker.stop)
            with contextlib.suppress(TimeoutError), pytest.raises(port.LogUnavailableError):
                async with asyncio.timeout(SHORT.request):
                    await run.log.bounds(port.EVENTS, 0)
            kafka_source.produce(kafka_server.bootstrap, topic, [kafka_source.order(1)])
            assert lane.accounts.totals().written == 1
            _mount(secret, "client")
            await lane_run.until(lambda: lane.accounts.totals().written == 2, 2 * LONG_SECONDS)
            await lane_run.drained(lane, LONG_SECONDS)
        assert len(await run.rows("SELECT id FROM orders")) == 2


def _mount(secret: pathlib.Path, name: str) -> None:
    for suffix in ("crt", "key"):
        shutil.copy(kafka.CERTIFICATES / f"{name}.{suffix}", secret / f"tls.{suffix}")
