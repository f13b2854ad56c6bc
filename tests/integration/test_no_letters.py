"""Records that are no letters in a pipeline's own topic of dead letters: named once, and passed by whoever reads the others."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator

import confluent_kafka
import msgspec
import pytest
from click import testing
from tests.integration import lane_run, processes, test_replay
from tests.unit.core.dialects import letters

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.cli import main
from penstock.core import deadletters, dialects, runs
from penstock.log import port
from penstock.log.embedded import schema as embedded_schema
from penstock.log.kafka import front
from penstock.machine import opening, replay_runs, secrets
from penstock.replay import book

_LONG_SECONDS = 120.0
_OWN = {"penstock-producer": b"copy", "penstock-sequence": b"0"}
_AT = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Site:
    """A pipeline's topics on a broker, and the hands of its lane and of strangers in partition 0 of its letters."""

    def __init__(self, bootstrap: str, path: pathlib.Path) -> None:
        self.file = path / "pipeline.yaml"
        self.file.write_text(processes.pipeline(bootstrap))
        [read] = load.read(self.file.read_bytes())
        assert isinstance(read.object, api_pipeline.BatchPipeline)
        self.pipeline, self.bootstrap = read.object, bootstrap
        self.prefix = f"shop.{self.pipeline.metadata.name}"
        self.lane = f"shop/{self.pipeline.metadata.name}/warehouse"
        self.secrets = secrets.SecretStore(path, {}, ())

    async def open(self) -> front.KafkaLog:
        log = await opening.open_log(self.pipeline, None, self.secrets)
        assert isinstance(log, front.KafkaLog)
        return log

    async def write(self, *numbers: int, size: int = 2) -> None:
        """Letters, one batch each, by a producer that knows nothing of the strangers."""
        log = await self.open()
        for sequence, number in enumerate(numbers):
            value, headers = dialects.encode(self.letter(number, b"7" * size))
            new = port.NewRecord(value=value, headers=headers, producer=f"p{number}", sequence=0)
            assert (await log.append(port.DEAD_LETTERS, 0, new)).offset >= sequence
        await log.close()

    def letter(self, number: int, original: bytes = b"{}") -> deadletters.DeadLetter:
        told = {"id": f"{number:032x}", "lane": self.lane, "sink": "warehouse", "attempt": 1, "split_from": ""}
        return letters.letter(**told, offset=number, failed_at_microseconds=_AT, original=original)

    async def strange(self, *headers: dict[str, bytes | None], transaction: bool = False) -> None:
        """A record of somebody else with each of these headers."""
        more = {"transactional.id": uuid.uuid4().hex} if transaction else {}
        await asyncio.to_thread(self._strange, headers, confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, **more}))

    def _strange(self, headers: tuple[dict[str, bytes | None], ...], producer: confluent_kafka.Producer) -> None:
        topic = f"{self.prefix}.{port.DEAD_LETTERS}"
        with contextlib.suppress(confluent_kafka.KafkaException):  # It is not for transactions.
            producer.init_transactions(_LONG_SECONDS)
            producer.begin_transaction()
        for one in headers:
            producer.produce(topic, b"?", partition=0, headers=list(one.items()))
        assert producer.flush(_LONG_SECONDS) == 0
        with contextlib.suppress(confluent_kafka.KafkaException):
            producer.commit_transaction(_LONG_SECONDS)

    def said(self, *arguments: str) -> testing.Result:
        done = testing.CliRunner().invoke(main.cli, [arguments[0], "ls", "-f", str(self.file), *arguments[1:]])
        assert done.exit_code == 0, done.output
        return done

    def replay(self, action: str) -> api_replay.DeadLetterReplay:
        described = {
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "DeadLetterReplay",
            "metadata": {"name": "again", "namespace": "shop"},
            "spec": {"pipelineRef": {"name": self.pipeline.metadata.name}, "action": action, "eventsPerSecond": 10_000},
        }
        [read] = load.read(msgspec.yaml.encode(described))
        assert isinstance(read.object, api_replay.DeadLetterReplay)
        return read.object

    async def run(self, action: str) -> runs.Report:
        """A DeadLetterReplay as a pod does it, beside a lane that lands whatever comes."""
        going = replay_runs.ReplayRun(
            self.replay(action), datetime.datetime.now(datetime.UTC), self.pipeline, self.secrets, self.open
        )
        async with self._landing(), asyncio.timeout(_LONG_SECONDS):
            return await going.go()

    @contextlib.asynccontextmanager
    async def _landing(self) -> AsyncIterator[None]:
        log = await self.open()
        topic = port.replay_topic("warehouse")

        async def land() -> None:
            while True:
                end = (await log.bounds(topic, 0)).end
                await log.commit_for(topic, self.lane, {0: port.Commit(offset=end)})
                await asyncio.sleep(0.05)

        task = asyncio.create_task(land())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await log.close()


@pytest.fixture
def site(kafka_server, tmp_path: pathlib.Path) -> Iterator[Site]:
    return Site(kafka_server.bootstrap, tmp_path)


async def test_letters_among_strangers_records_are_listed_and_replayed(site: Site) -> None:
    """Catches a stranger's record that is passed in silence, one whose headers have no values and that ends a command with a
    stack trace, a lane's name that is asked of the brokers, and the end of a transaction that hides the letters behind it."""
    whole = dialects.encode(site.letter(9))[1]
    await site.write(1)
    await site.strange({}, {**_OWN, "penstock-producer": None}, {**_OWN, **whole, "penstock.dead-letter.message": None})
    await site.strange({**_OWN, **whole, "penstock.dead-letter.lane": b"a/b/no such lane"}, whole)
    await site.strange({}, transaction=True)
    # So large that what ends the transaction is fetched without it.
    await site.write(2, size=2 << 20)
    await site.write(3)

    table = await asyncio.to_thread(site.said, "dlq", "--limit", "100")
    assert "3 dead letters: SinkRejected 3 · 6 not readable" in table.output
    named = [line.split(":")[1].strip() for line in table.output.splitlines() if line.startswith("not readable")]
    assert sorted(named) == [f"partition 0, offset {offset}" for offset in range(1, 7)]
    assert "offset 1: the record at 1 has no producer and sequence, so something else writes to this topic" in table.output
    lines = await asyncio.to_thread(site.said, "dlq", "-o", "json", "--limit", "4")
    assert sorted(json.loads(line)["offset"] for line in lines.stdout.splitlines()) == [1, 2, 3]
    assert "and 2 more that are not readable" in lines.stderr

    dry = await site.run("DryRun")
    assert dry.message.startswith("3 would be put back, 6 that are no letters (such as partition 0, offset ")
    done = await site.run("Replay")
    assert (done.phase, done.selected, done.replayed, done.landed) == (runs.Phase.COMPLETE, 3, 3, 3)
    assert done.message.startswith("3 put back, 3 landed, 0 failed again, 6 that are no letters (such as partition 0, offset ")
    table = await asyncio.to_thread(site.said, "dlq")
    assert "3 dead letters: SinkRejected 3 · 6 not readable (3 landed)" in table.output


async def test_a_letter_that_rots_on_the_brokers_disk_stops_none_of_its_neighbours(kafka_server, site: Site) -> None:
    """Catches a checksum that ends every command, and a damaged letter that nobody hears of."""
    await site.write(1, 2, 3)
    [segment] = (kafka_server._directory / "data" / f"{site.prefix}.{port.DEAD_LETTERS}-0").glob("*.log")
    content = bytearray(segment.read_bytes())
    content[content.index(f"{2:032x}".encode())] ^= 1
    segment.write_bytes(content)

    table = await asyncio.to_thread(site.said, "dlq")
    assert "2 dead letters: SinkRejected 2 · 1 not readable" in table.output
    assert "not readable by this release: partition 0, offset 1: " in table.output
    assert "checksum" in table.output
    done = await site.run("Replay")
    assert (done.phase, done.selected, done.landed) == (runs.Phase.COMPLETE, 2, 2)
    assert "1 that are no letters (partition 0, offset 1: " in done.message


def _rot(path: pathlib.Path, statement: str) -> None:
    with contextlib.closing(embedded_schema.open_writer(path / "log.db")) as connection:
        connection.execute(statement.format(f"(SELECT id FROM partition WHERE topic = '{port.DEAD_LETTERS}' AND number = 0)"))


async def test_a_letter_whose_note_of_a_replay_rots_lands_once_all_the_same(tmp_path) -> None:
    """Catches a lane that forgets what stands in its replay log, and a row that lands again because of a damaged marker."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        async with there.lane():
            assert (await test_replay.replayed(there)).landed == 2
    _rot(tmp_path, "UPDATE record SET headers = x'c1' WHERE partition_id = {} AND offset = 2")
    async with lane_run.LaneRun(tmp_path).opened() as there:
        async with there.lane():
            done = await test_replay.replayed(there)
        assert (done.published, done.survey.unreadable) == (1, 1)
        assert await there.rows() == [(f"e{number}", number) for number in range(10)]


_HEADERS = "UPDATE record SET headers = x'c1' WHERE partition_id = {} AND offset = 1"
_GONE = "DELETE FROM record WHERE partition_id = {} AND offset = 1"
_EVENT = "UPDATE value SET content = zeroblob(5) WHERE id = (SELECT value_id FROM record WHERE partition_id = {} AND offset = 1)"


@pytest.mark.parametrize(("damage", "listed"), [(_HEADERS, 1), (_GONE, 1), (_EVENT, 2)], ids=["headers", "gone", "event"])
async def test_a_letter_that_rots_in_an_embedded_log_stops_none_of_its_neighbours(tmp_path, damage: str, listed: int) -> None:
    """Catches headers that end a listing with a stack trace, a letter that is missing and that nobody misses, and an event that
    is not what was written and stops the replay of all others, or is put back as it is."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        stranger = port.NewRecord(value=b"?", headers={"who": b"?"}, producer="stranger", sequence=0)
        await there.log.append(port.DEAD_LETTERS, 0, stranger)
    _rot(tmp_path, damage)
    async with lane_run.LaneRun(tmp_path).opened() as there:
        opened = await book.Book.open(there.log)
        assert len([one async for one in opened.letters()]) == listed
        assert [one.split(":")[0] for one in opened.unreadable] == [
            "partition 0, offset 2",
            *(["partition 0, offset 1"] if listed == 1 else []),
        ]
        async with there.lane():
            done = await test_replay.replayed(there)
        assert (done.published, done.landed, done.survey.unreadable, len(done.damaged)) == (1, 1, 3 - listed, listed - 1)
        assert all("offset 1 is not what was written" in one for one in done.damaged)
        again = await test_replay.replayed(there, dataclasses.replace(test_replay.order(there), run="b" * 32))
        assert (again.published, len(again.damaged)) == (0, listed - 1)
        assert len(await there.rows()) == 9
