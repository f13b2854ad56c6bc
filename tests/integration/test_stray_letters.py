"""Dead letters of Connect, Spring and the broker, in a user's topic on a real broker, put back by a job of its own."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import confluent_kafka
import msgspec
import pytest
from click import testing
from tests.integration import kafka_sink, processes, running, stray_topic

from penstock.cli import main
from penstock.core import dialects
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka import strays as kafka_strays

COUNT = 900
REFUSED = b'{"id": "broken", "customer": 1, "number": "x"}'
_CALL_SECONDS = 120


@pytest.fixture
def site(kafka_server, tmp_path: pathlib.Path) -> Iterator[processes.Site]:
    with processes.Site(tmp_path, processes.pipeline(kafka_server.bootstrap)) as opened:
        yield opened


def penstock(*arguments: str) -> running.Said:
    """In this process: each of its own would cost more than what it does."""
    done = testing.CliRunner().invoke(main.cli, arguments)
    return running.Said(code=done.exit_code, out=done.stdout, err=done.stderr)


def killed(path: pathlib.Path, point: str, *arguments: str) -> None:
    """In a process of its own, until it comes to the point."""
    told = {**os.environ, "PENSTOCK_FAILPOINTS": f"{point}=kill"}
    command = [sys.executable, "-m", "penstock.cli.main", *arguments]
    done = subprocess.run(command, cwd=path, env=told, capture_output=True, text=True, timeout=_CALL_SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def dlq(site: processes.Site, command: str, *more: str) -> running.Said:
    return penstock("dlq", command, "-f", str(site.file), *more)


def listed(site: processes.Site, *more: str) -> list[dict[str, object]]:
    done = dlq(site, "ls", "--limit", "10000", "-o", "json", *more)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def replay_file(site: processes.Site, topic: str, **spec: object) -> str:
    """A DeadLetterReplay of the topic's letters that were made before now, as a Job is given it."""
    created = datetime.datetime.now(datetime.UTC).isoformat()
    described = {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "DeadLetterReplay",
        "metadata": {"name": "again", "namespace": "shop", "creationTimestamp": created},
        "spec": {
            "pipelineRef": {"name": msgspec.yaml.decode(site.file.read_bytes())["metadata"]["name"]},
            "source": {"type": "KafkaTopic", "kafkaTopic": {"topic": topic}},
            "action": "Replay",
            "eventsPerSecond": 10_000,
            **spec,
        },
    }
    path = site.path / f"{uuid.uuid4().hex}.yaml"
    path.write_bytes(msgspec.yaml.encode(described))
    return str(path)


def test_letters_of_three_tools_land_once_each_although_the_job_is_killed_twice(kafka_server, site) -> None:
    """Catches an id that changes between two readings, a kill between publish and marker that puts letters back twice, a
    second run that finds work, a record that is no letter and stops the job or lands, a letter that fails again and is lost,
    and anything written to the topic."""
    topic = stray_topic.write(kafka_server.bootstrap, range(COUNT))
    stray_topic.write(kafka_server.bootstrap, [1], topic=topic, value=REFUSED)
    before = kafka_sink.read(kafka_server.bootstrap, topic)
    site.sink.start(wait=False)
    site.batcher().start(wait=False)
    job = ("replay", "-f", replay_file(site, topic), "-f", str(site.file))
    killed(site.path, "replay.published", *job)
    killed(site.path, "replay.marked", *job)
    done = penstock(*job, "-o", "json")
    assert done.code == 0, done.out + done.err
    last = json.loads(done.out.splitlines()[-1])
    assert (last["finished"], last["published"] < COUNT, last["unreadable"]) == (True, True, 30)
    running.until(lambda: True if len(site.landed()) >= COUNT else None, site.sink.said)
    assert site.landed() == list(range(COUNT))
    found = {one["id"]: one for one in listed(site, "--topic", topic)}
    again = [one for one in found.values() if one["state"] != "Landed"]
    assert len(found) == COUNT + 1
    assert [(one["state"], one["attempt"], one["category"]) for one in again] == [("Outstanding", 2, "SchemaMismatch")]
    assert [one["id"] for one in listed(site)] == [again[0]["id"]]
    second = penstock(*job, "-o", "json")
    assert (second.code, json.loads(second.out.splitlines()[-1])["published"]) == (0, 0)
    later = dlq(site, "replay", "--topic", topic)
    assert (later.code, "1 put back: 0 landed, 1 failed again" in later.out) == (1, True), later.out + later.err
    own = kafka_sink.read(kafka_server.bootstrap, f"{str(again[0]['lane']).rpartition('/')[0].replace('/', '.')}.dead-letters")
    assert {one.key for one in own if one.value == REFUSED} == {b"k1"}
    assert kafka_sink.read(kafka_server.bootstrap, topic) == before
    assert site.landed() == list(range(COUNT))


def test_what_can_be_asked_of_a_topic_needs_nothing_but_the_brokers(kafka_server, site) -> None:
    """Catches a command that wants a data directory, a process that runs, or the pipeline's own dialect."""
    topic = stray_topic.write(kafka_server.bootstrap, range(6), every=10)
    where = ("--topic", topic)
    dry = penstock("replay", "-f", replay_file(site, topic, action="DryRun"), "-f", str(site.file))
    assert (dry.code, "has the pipeline run" in dry.err) == (3, True), dry.err
    doors = site.doors.start()
    assert doors.stop() == 0
    dry = penstock("replay", "-f", replay_file(site, topic, action="DryRun"), "-f", str(site.file))
    assert dry.out == "6 would be put back\n", dry.err
    [one] = [one for one in listed(site, *where) if one["record"]["offset"] == 3]
    shown = dlq(site, "show", str(one["id"])[:12], *where)
    assert "original-topic" not in shown.out
    assert '"number": 3' in shown.out
    assert "Listener failed" in dlq(site, "analyse", *where).out
    exported = dlq(site, "export", "-", *where, "--topic-dialect", "Spring")
    assert exported.code == 0, exported.err
    assert sorted(json.loads(line)["original"]["number"] for line in exported.out.splitlines()) == [1, 4]
    given_up = dlq(site, "discard", *where, "--category", "SinkRejected", "--reason", "agreed")
    assert given_up.out == "2 discarded\n"
    assert sorted(one["state"] for one in listed(site, *where)) == ["Discarded"] * 2 + ["Outstanding"] * 4
    own = msgspec.yaml.decode(site.file.read_bytes())["metadata"]
    refused = dlq(site, "ls", "--topic", f"shop.{own['name']}.dead-letters")
    assert (refused.code, "is the pipeline's own" in refused.err) == (1, True)
    missing = dlq(site, "ls", "--topic", "no-such-topic")
    assert (missing.code, "there is no topic no-such-topic" in missing.err) == (3, True)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_topic_is_read_however_it_is_compressed(kafka_server, compression: str) -> None:
    """Catches a codec that is not installed, and offsets counted within a batch."""
    topic = stray_topic.write(kafka_server.bootstrap, range(40), compression=compression, every=1000)
    assert [offset for offset, _ in await _all(kafka_server.bootstrap, topic, 1)] == list(range(10))


async def test_records_of_transactions_that_were_given_up_are_no_letters(kafka_server) -> None:
    """Catches a letter that its writer took back, and a reader that stops at what stands in its place."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, partitions=1)
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka_server.bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(60)
    for number, keep in enumerate([True, False, False, True]):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number, headers=stray_topic.connect(number))
        producer.flush(60)
        producer.commit_transaction(60) if keep else producer.abort_transaction(60)
    assert [value for _, value in await _all(kafka_server.bootstrap, topic, 0)] == [b"0", b"3"]


async def _all(bootstrap: str, topic: str, partition: int) -> list[tuple[int, bytes | None]]:
    opened = await kafka_strays.StrayTopic.open(topic, bootstrap=bootstrap, security=kafka_settings.Security())
    try:
        found: list[dialects.Stray] = []
        offset, end = 0, (await opened.bounds(partition)).end
        while offset < end:
            page, offset = await opened.read(partition, offset)
            found += page
        return [(one.offset, one.value) for one in found]
    finally:
        await opened.close()


def test_one_process_with_a_log_of_its_own_takes_letters_of_a_topic_as_well(kafka_server, tmp_path: pathlib.Path) -> None:
    """Catches a topic that only a log in Kafka can read, and a sink that is chosen for the user."""
    text = running.changed(sinks=[*running.only_warehouse(), running.sinks()[1]])
    topic = stray_topic.write(kafka_server.bootstrap, range(6), every=2, value=b'{"id": "a", "customer": 1, "items": [4]}')
    with running.Running(tmp_path, text) as run:
        run.start()
        where = ("--data", str(run.pipeline.data.path), "--topic", topic)
        elsewhere = (*where, "--brokers", kafka_server.bootstrap)
        assert "--brokers" in penstock("dlq", "replay", *where, "--sink", "warehouse").err
        assert "name one of warehouse, archive" in penstock("dlq", "replay", *elsewhere).err
        done = penstock("dlq", "replay", *elsewhere, "--sink", "warehouse")
        assert (done.code, done.out.splitlines()) == (
            0,
            ["6 put back: 6 landed, 0 failed again", "3 that are no letters this release can read (penstock dlq ls says why)"],
        )
        assert run.landed("SELECT id, item FROM orders") == [("a", 4)] * 6
        assert penstock("dlq", "replay", *elsewhere, "--sink", "warehouse").out.startswith("nothing outstanding matches")
        assert "6 would be put back" in penstock("dlq", "replay", *elsewhere, "--sink", "archive", "--dry-run").out
