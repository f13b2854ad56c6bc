"""Dead letters of other tools put back through a lane over a real log and store; the topic they stand in is told by the test."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import msgspec
import pytest
from tests.integration import lane_run, stray_topic, test_replay

from penstock.core import deadletters, dialects, selection
from penstock.log import port
from penstock.machine import letter_counts
from penstock.replay import book, job, strays, survey

LOG_PARTITIONS = 1
BROKEN = b'{"id": "broken", "num": "seven"}'


class Topic:
    """`strays.Topic` in memory, which compacts, trims and pages as Kafka does."""

    def __init__(self, partitions: int = 3) -> None:
        self.name, self.topic_id, self.partitions = "orders-dlq", "7f1c", partitions
        self._records: list[list[dialects.Stray]] = [[] for _ in range(partitions)]
        self._starts = [0] * partitions

    def add(self, partition: int, value: bytes | None, headers: stray_topic.Headers) -> dialects.Stray:
        at = len(self._records[partition])
        stray = dialects.Stray(
            topic=self.name,
            topic_id=self.topic_id,
            partition=partition,
            offset=at,
            timestamp_microseconds=1_000_000 + at,
            key=b"key",
            value=value,
            headers=headers,
        )
        self._records[partition].append(stray)
        return stray

    def trim(self, partition: int, before: int) -> None:
        self._starts[partition] = before

    async def bounds(self, partition: int) -> port.Bounds:
        return port.Bounds(start=self._starts[partition], end=len(self._records[partition]))

    async def read(self, partition: int, offset: int) -> tuple[Sequence[dialects.Stray], int]:
        """Two at a time."""
        if offset < self._starts[partition]:
            raise port.OffsetOutOfRangeError("gone")
        following = min(offset + 2, len(self._records[partition]))
        return self._records[partition][offset:following], following

    async def close(self) -> None:
        pass


def home(run: lane_run.LaneRun, **changes: object) -> dialects.Home:
    told = run.settings
    found = dialects.Home(lane=told.lane, namespace=told.namespace, pipeline=told.pipeline, sink=told.sink)
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def order(
    run: lane_run.LaneRun,
    topic: Topic,
    dialect: dialects.Dialect | None = None,
    home_: dialects.Home | None = None,
    **filters: object,
) -> survey.Order:
    others = strays.Strays(topic, home_ or home(run), dialect, LOG_PARTITIONS)
    return dataclasses.replace(test_replay.order(run, **filters), others=others)


async def replayed(run: lane_run.LaneRun, topic: Topic, **filters: object) -> job.Progress:
    return await test_replay.replayed(run, order(run, topic, **filters))


async def listed(run: lane_run.LaneRun, topic: Topic, max_replays: int = 3) -> list[tuple[bytes, str, int]]:
    """Original, state and attempt of each letter of the topic, in order."""
    others = order(run, topic).others
    opened = await book.Book.open(run.log, others=others, max_replays=max_replays)
    found = [await book.with_original(run.log, one, others) async for one in opened.letters()]
    return sorted((one.letter.original, one.state.value, one.letter.attempt) for one in found)


def events(count: int) -> list[bytes]:
    return [b'{"id": "e%d", "num": %d}' % (number, number) for number in range(count)]


def filled(count: int = 9) -> Topic:
    """Letters of the three tools by turns, with records between them that are none."""
    topic = Topic()
    for number, event in enumerate(events(count)):
        topic.add(number % topic.partitions, event, stray_topic.TOOLS[number % 3](number))
        value, headers = stray_topic.NO_LETTERS[number % len(stray_topic.NO_LETTERS)]
        topic.add(number % topic.partitions, value, headers)
    return topic


async def test_letters_of_other_tools_land_once_and_are_known_for_what_became_of_them(tmp_path):
    """Catches letters of equal offsets in different partitions that are taken for one, records that are no letters and land,
    and a state that a topic of others can't show."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled()
        assert {state for _, state, _ in await listed(run, topic)} == {"Outstanding"}
        async with run.lane() as lane:
            done = await replayed(run, topic)
            again = await replayed(run, topic)
            totals = lane.replay_log.accounts.totals()
        assert (done.published, done.landed, done.failed_again, done.survey.unreadable) == (9, 9, 0, 9)
        assert (again.published, again.survey.replaying, again.survey.unmarked) == (0, 0, [])
        assert (totals.read, totals.written, totals.duplicates, totals.unexplained()) == (9, 9, 0, 0)
        assert await run.rows() == [(f"e{number}", number) for number in range(9)]
        assert await listed(run, topic) == [(event, "Landed", 1) for event in sorted(events(9))]


async def test_a_job_that_ends_between_publish_and_marker_is_gone_on_with(tmp_path):
    """Catches a tail of the replay log that is not looked at for letters of others, and its markers where they expire."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled()
        wanted = order(run, topic)
        found = await survey.survey(run.log, wanted)
        pen = job._Pen(run.log, "", wanted)
        await pen.publish(found.selected[:4])
        again = await survey.survey(run.log, wanted)
        assert (len(again.unmarked), len(again.selected), again.replaying) == (4, 5, 4)
        async with run.lane() as lane:
            done = await replayed(run, topic)
            duplicates = lane.replay_log.accounts.totals().duplicates
        assert (done.published, duplicates) == (5, 0)
        assert len(await run.rows()) == 9
        assert (await run.log.bounds(port.OUTCOMES, 0)).end == 9
        assert (await run.log.bounds(port.DEAD_LETTERS, 0)).end == 0


async def test_two_jobs_at_once_make_each_row_once(tmp_path):
    """Catches a lane that goes by the place in the replay log and not by the letter."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled()
        found = await survey.survey(run.log, order(run, topic))
        for _ in range(2):
            await job._Pen(run.log, "", order(run, topic)).publish(found.selected)
        async with run.lane() as lane:
            await replayed(run, topic)
            await lane_run.drained(lane)
        assert len(await run.rows()) == 9


async def test_what_is_refused_again_is_a_letter_of_ours_until_it_is_quarantined(tmp_path):
    """Catches a second letter under another id, which would be put back beside the first for ever; one whose fate is looked
    for among those of the topic; and one that is listed beside its record."""
    run = lane_run.LaneRun(tmp_path)
    async with run.opened():
        topic = filled(2)
        topic.add(2, BROKEN, stray_topic.spring(7))
        async with run.lane():
            for attempt in (2, 3, 4):
                done = await replayed(run, topic)
                assert (done.failed_again, done.published) == (1, 1 if attempt > 2 else 3)
                [letter] = await run.letters()
                assert (letter.attempt, letter.original, letter.category.value) == (attempt, BROKEN, "SchemaMismatch")
                state = "Outstanding" if attempt < 4 else "Quarantined"
                others = [(event, "Landed", 1) for event in events(2)]
                assert await listed(run, topic) == sorted([(BROKEN, state, attempt), *others])
            assert (await replayed(run, topic)).survey.quarantined == 1
        record = letter.record
        assert letter.elsewhere == deadletters.Elsewhere(topic="orders-dlq", tool="spring", who="billing")
        assert record
        assert (record.topic, record.partition, record.offset, record.key) == ("orders", 0, 2**33 + 7, b"key")
        assert (record.timestamp_microseconds, record.headers) == (stray_topic.MILLISECONDS * 1000, (("trace", b"t7"),))


async def test_a_letter_of_others_that_fails_does_not_take_from_what_was_put_back(tmp_path):
    """Catches a count that takes the second letter of somebody's first one for that of a letter which was counted."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        topic = Topic()
        topic.add(0, BROKEN, stray_topic.connect(1))
        async with run.lane():
            assert (await test_replay.replayed(run)).landed == 2
            assert (await replayed(run, topic)).failed_again == 1
        counts = letter_counts.LetterCounts(run.log, run._pipeline, [], functools.partial(range, LOG_PARTITIONS))
        await counts.count()
        standing = counts._of("warehouse")
        assert (standing.outstanding, standing.replayed) == (1, 2)


async def test_letters_that_are_given_up_stay_so_and_the_topic_is_not_written(tmp_path):
    """Catches a discard that is kept where letters expire, and one that goes by no filter."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled(3)
        connect = order(run, topic, categories=frozenset({"SinkRejected"}))
        assert await job.Jobs(run.log).discard(connect, reason="agreed") == 1
        assert [state for _, state, _ in await listed(run, topic)] == ["Discarded", "Outstanding", "Outstanding"]
        async with run.lane():
            assert (await replayed(run, topic)).landed == 2
        assert (await run.log.bounds(port.DEAD_LETTERS, 0)).end == 0


async def test_a_sink_that_was_renamed_does_not_take_letters_again(tmp_path):
    """Catches an id that a new name changes."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled(3)
        async with run.lane():
            await replayed(run, topic)
        renamed = home(run, lane="default/clicks/lake", sink="lake", formerly=(run.settings.lane,))
        found = await survey.survey(
            run.log, dataclasses.replace(order(run, topic, home_=renamed), lanes=frozenset({renamed.lane}))
        )
        assert (found.selected, found.replaying) == ([], 0)


async def test_records_without_headers_are_letters_only_for_who_says_whose_they_are(tmp_path):
    """Catches any record of any topic taken for a letter, and a Connect without context headers that can't be put back."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = Topic()
        topic.add(0, b'{"id": "bare", "num": 1}', [("trace", b"1")])
        topic.add(0, b'{"id": "spring", "num": 2}', stray_topic.spring(1))
        for dialect, selected, unreadable in [(None, 1, 1), (dialects.Dialect.CONNECT, 1, 1), (dialects.Dialect.KAFKA, 0, 2)]:
            found = await survey.survey(run.log, order(run, topic, dialect))
            assert (len(found.selected), found.unreadable) == (selected, unreadable)
        async with run.lane():
            done = await test_replay.replayed(run, order(run, topic, dialects.Dialect.CONNECT))
        assert done.landed == 1
        assert await run.rows() == [("bare", 1)]


async def test_a_letter_that_leaves_its_topic_meanwhile_is_named(tmp_path):
    """Catches an empty original published for one that is gone."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled(1)
        wanted = order(run, topic)
        found = await survey.survey(run.log, wanted)
        topic.trim(0, 1)
        with pytest.raises(port.LogError):
            await job._Pen(run.log, "", wanted).publish(found.selected)


async def test_another_pipelines_letters_are_taken_once_each_with_the_items_that_failed(tmp_path):
    """Catches each attempt of a letter put back for itself, items that are made again although they landed, and an attempt
    that counts what another pipeline tried."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=test_replay.EXPLODED))
    letter = deadletters.DeadLetter(
        **dict.fromkeys(("code", "expression", "schema_fingerprint", "revision", "traceparent"), ""),
        id="ab", lane="web/old/lake", namespace="web", pipeline="old", sink="lake", log_id="other", partition=0, offset=5,
        ordinal=0,
        items=(1,), unit=deadletters.Unit.ROW, stage="write", category=deadletters.Category.SINK_REJECTED, message="no",
        fingerprint="no", original=b'{"id": "a", "kind": "10", "items": [1, 2, 3]}',
        original_format=deadletters.OriginalFormat.JSON, received_at_microseconds=1, append_time_microseconds=1,
        failed_at_microseconds=1, attempt=1,
    )  # fmt: skip
    async with run.opened():
        topic = Topic()
        for attempt, dialect in ((1, dialects.Dialect.PENSTOCK), (2, dialects.Dialect.SPRING)):
            value, headers = dialects.encode(msgspec.structs.replace(letter, attempt=attempt), dialect)
            topic.add(attempt, value, list(headers.items()))
        async with run.lane():
            done = await replayed(run, topic)
            assert (done.published, done.landed) == (1, 1)
            assert (await replayed(run, topic)).published == 0
        assert await run.rows("SELECT num, place FROM clicks") == [(12, 1)]


async def test_the_columns_of_a_kafka_source_are_those_of_the_record_that_failed(tmp_path):
    """Catches replayed rows without their key and place, or with those of the dead-letter topic."""
    names = ("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_headers")
    text = lane_run.pipeline(
        source={"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"], "topics": ["orders"]}},
        transform={
            "select": [
                {"name": "id"},
                {"name": "num"},
                {"name": "keyed", "value": "decode(kafka_key)"},
                *({"name": name.removeprefix("kafka_"), "value": name} for name in names),
            ]
        },
    )
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        topic = Topic()
        topic.add(1, b'{"id": "a", "num": 1}', stray_topic.spring(5))
        async with run.lane():
            assert (await replayed(run, topic)).landed == 1
        asked = 'SELECT keyed, topic, partition, epoch_ms(timestamp), headers::VARCHAR, "offset" FROM clicks'
        expected = ("key", "orders", 5, stray_topic.MILLISECONDS, '{"trace":"t5"}', 2**33 + 5)
        assert await run.rows(asked) == [expected]


async def test_filters_choose_among_the_letters_of_a_topic(tmp_path):
    """Catches a filter that is not asked of letters of others."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        topic = filled(9)
        for filters, selected in [
            ({"categories": frozenset({"SinkRejected"})}, 3),
            ({"sinks": frozenset({"warehouse"})}, 9),
            ({"until_microseconds": 1_000_002}, 3),
            ({"fingerprints": frozenset({selection.fingerprint_id("Unclassified: Listener failed")})}, 3),
        ]:
            found = await survey.survey(run.log, order(run, topic, **filters))
            assert len(found.selected) == selected
