"""A pipeline whose events are records of the user's own topics, over a real broker."""

from __future__ import annotations

import json

from tests.integration import kafka_sink, kafka_source, processes, running, source_run


def test_records_of_several_topics_land_once_with_what_the_record_says(kafka_server, tmp_path):
    """Catches a record that is read twice or not at all, columns of another record, an offset that is the run's."""
    bootstrap = kafka_server.bootstrap
    orders, returns = kafka_sink.make_topic(bootstrap, partitions=3), kafka_sink.make_topic(bootstrap, partitions=2)
    kafka_source.produce(bootstrap, orders, map(kafka_source.order, range(2_000)), key=b"k", headers=[("trace", b"t1")])
    kafka_source.produce(bootstrap, returns, [b"{", *map(kafka_source.order, range(2_000, 3_000))])
    with running.Running(tmp_path, kafka_source.pipeline(bootstrap, [orders, returns])) as run:
        run.start()
        (lane,) = run.settled().lanes
        assert (lane.ledger.events_read, lane.ledger.rows_written, lane.ledger.events_dead_lettered) == (3_001, 3_000, 1)
        assert run.landed("SELECT count(*), count(DISTINCT id) FROM orders") == [(3_000, 3_000)]
        told = run.landed("SELECT DISTINCT topic, key, trace, stamped > 0 FROM orders")
        assert set(told) == {(orders, "k", "t1", True), (returns, None, None, True)}
        found = run.command("where", "id=o1234", "--data=data", "-o", "json")
        assert (found.code, "Landed" in found.out) == (0, True), found
        shown = run.command("top", "--once", "--data=data", "--every=0.05")
        assert (shown.code, "read" in shown.out, "explode" in shown.out) == (0, True, True), shown
        listed = run.command("dlq", "ls", "--data=data", "-o", "json")
        assert (listed.code, len(listed.out.splitlines())) == (0, 1), listed
        letter = run.command("dlq", "show", json.loads(listed.out)["id"], "--data=data")
        assert (letter.code, returns in letter.out) == (0, True), letter
        places = run.landed(f"SELECT place, id FROM orders WHERE topic = '{orders}'")
    assert sorted(places) == sorted(
        (f"{one.partition}/{one.offset}", run_id(one.value)) for one in kafka_sink.read(bootstrap, orders)
    )


def run_id(value: bytes | None) -> str:
    return str(json.loads(value or b"")["id"])


async def test_aborted_transactions_tombstones_and_markers_are_no_gaps(kafka_server, tmp_path):
    """Holes of every kind, also at the very end of the topic, where there is nothing to read behind them.

    Catches records of a transaction that was given up, a lane that takes a hole for a loss or waits at one for ever, and a
    tombstone that is a row or a dead letter.
    """
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    for turn in range(2):
        first = 100 * turn
        kafka_source.transaction(bootstrap, topic, map(kafka_source.order, range(first, first + 50)), commit=True)
        kafka_source.transaction(bootstrap, topic, map(kafka_source.order, range(5_000, 5_050)), commit=False)
        kafka_source.produce(bootstrap, topic, [None, kafka_source.order(first + 50)], key=b"k")
    kafka_source.transaction(bootstrap, topic, map(kafka_source.order, range(6_000, 6_010)), commit=False)
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic])).opened() as run:
        told = await run.drained()
        assert (told.read, told.filtered, told.written, told.dead_lettered_events) == (104, 2, 102, 0)
        assert await run.rows("SELECT count(*), count(DISTINCT id), max(id) FROM orders") == [(102, 102, "o9")]
        kafka_source.produce(bootstrap, topic, [kafka_source.order(7_000)])
        assert (await run.drained()).written == 103
        assert await run.rows("SELECT count(*) FROM orders WHERE id = 'o7000'") == [(1,)]


async def test_what_cant_be_read_is_dead_lettered_byte_for_byte_and_its_neighbours_land(kafka_server, tmp_path):
    """Catches a letter without its key or headers, one with other bytes, and a bad record that takes others with it."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    bad = [b"", b"{", b"\xff\xfe", b'{"id": "x"}', b'{"id": 7, "customer": "a"}', b"[1]", b"null", b"{}{}"]
    kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(300)))
    kafka_source.produce(bootstrap, topic, bad, key=b"\x00k\xff", headers=[("h", b"\xfe"), ("h", None), ("trace", b"t")])
    kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(300, 600)))
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic])).opened() as run:
        told = await run.drained()
        assert (told.written, told.dead_lettered_events) == (600, len(bad))
        letters = await run.letters()
    assert [one.original for one in letters] == bad
    assert {one.record.key for one in letters} == {b"\x00k\xff"}
    assert {one.record.headers for one in letters} == {(("h", b"\xfe"), ("h", None), ("trace", b"t"))}
    assert [(one.record.topic, one.record.partition, one.record.offset) for one in letters] == [
        (topic, 0, 300 + at) for at in range(len(bad))
    ]


async def test_an_array_is_read_under_its_root(kafka_server, tmp_path):
    """Catches an array whose own bytes are lost, and a record beside it that is wrapped too."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    rows = [{"sku": f"s{number}", "qty": number} for number in range(3)]
    kafka_source.produce(bootstrap, topic, [json.dumps(rows).encode(), b" \n[]", json.dumps({"lines": rows[:1]}).encode()])
    text = kafka_source.pipeline(
        bootstrap,
        [topic],
        source={"arrayRoot": "items"},
        schema={
            "fields": [
                {
                    "name": "items",
                    "path": "$.lines",
                    "type": "List",
                    "element": {
                        "type": "Struct",
                        "fields": [{"name": "sku", "type": "String"}, {"name": "qty", "type": "Int64"}],
                    },
                }
            ]
        },
        transform={
            "explode": {"field": "items", "as": "item", "indexAs": "no", "whenEmpty": "Skip"},
            "select": [{"name": "place", "value": "kafka_offset"}, {"name": "no"}, {"name": "sku", "value": "item.sku"}],
        },
    )
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        told = await run.drained()
        assert (told.read, told.written, told.dead_lettered_events) == (3, 4, 0)
        assert await run.rows("SELECT * FROM orders ORDER BY ALL") == [(0, 0, "s0"), (0, 1, "s1"), (0, 2, "s2"), (2, 0, "s0")]


def test_killed_again_and_again_each_record_lands_once(kafka_server, tmp_path, monkeypatch):
    """Catches an offset that moves before its rows are durable, runs cut in other places that land twice, and a
    deduplication that forgets across the restart what stands in the topic."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    text = kafka_source.pipeline(bootstrap, [topic], deduplicate={"key": ["customer", "id"]})
    with running.Running(tmp_path, text) as run:
        for turn, point in enumerate(("duckdb.committed=kill@2", "lane.committing=kill@3", "lane.transformed=kill@2")):
            monkeypatch.setenv("PENSTOCK_FAILPOINTS", point)
            # It may be gone before it has answered: there is something to read from the second turn on.
            run.pipeline.spawn()
            for partition in range(2):
                numbers = range(600 * turn - 300 * bool(turn), 600 * turn + 600)
                values = [kafka_source.order(2 * number + partition) for number in numbers]
                kafka_source.produce(bootstrap, topic, values, partition=partition)
            run.pipeline.process.wait(timeout=running.PATIENCE_SECONDS)
            kafka_source.bury(bootstrap, "penstock.shop.orders.shop/orders/warehouse.events")
        monkeypatch.delenv("PENSTOCK_FAILPOINTS")
        run.start()
        (lane,) = run.settled().lanes
        assert run.landed("SELECT count(*), count(DISTINCT id) FROM orders") == [(3_600, 3_600)]
        assert (lane.ledger.events_read, lane.ledger.events_duplicate) == (4_800, 1_200)


def test_a_gap_by_retention_stops_the_lane_until_a_person_says_skip(kafka_server, tmp_path):
    """Catches a lane that goes on as if nothing had been there, and one that can't be brought to go on."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    with running.Running(tmp_path, kafka_source.pipeline(bootstrap, [topic])) as run:
        kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(100)))
        run.start().settled()
        assert run.pipeline.stop() == 0
        kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(100, 200)))
        kafka_source.delete_below(bootstrap, topic, 0, 150)
        run.start()
        running.until(lambda: run.status().lanes[0].state == "Halted" or None, run.pipeline.log_tail)
        assert "LogGap" in run.status().lanes[0].message
        skipped = run.command("skip", "warehouse", "--data=data", "--yes")
        assert skipped.code == 0, skipped
        running.until(lambda: run.landed("SELECT 1 FROM orders WHERE id = 'o199'") or None, run.pipeline.log_tail)
        assert run.landed("SELECT count(*) FROM orders") == [(150,)]
        assert run.status().lanes[0].ledger.events_lost == 50


def test_batchers_divide_the_topics_and_no_door_is_opened(kafka_server, tmp_path):
    """Catches processes that keep what they write apart, rows of a moved partition that land twice, and a door to nowhere."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=3)
    log = {"type": "Kafka", "kafka": {"bootstrapServers": [bootstrap], "replicationFactor": 1}}
    text = kafka_source.pipeline(bootstrap, [topic], log=log).replace("name: orders", f"name: {topic[:20]}", 1)
    with processes.Site(tmp_path, text) as site:
        site.sink.start(wait=False)
        first, second = site.batcher().start(wait=False), site.batcher().start(wait=False)
        kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(1_000)))
        running.until(lambda: True if len(first.partitions()) + len(second.partitions()) == 3 else None, first.said)
        kafka_source.produce(bootstrap, topic, [b"{", *map(kafka_source.order, range(1_000, 2_000))])
        second.kill()
        kafka_source.produce(bootstrap, topic, map(kafka_source.order, range(2_000, 3_000)))

        def landed() -> bool | None:
            return site.sink.query("SELECT count(*), count(DISTINCT id) FROM orders") == [(3_000, 3_000)] or None

        running.until(lambda: True if site.sink.probe("readyz") == 200 else None, site.sink.said)
        running.until(lambda: landed() if second.process.poll() is not None else None, first.said)
        assert first.stop() == 0
    refused = running.command(tmp_path, "ingest", str(site.file))
    assert (refused.code, topic in refused.err, "penstock batcher" in refused.err) == (1, True, True), refused
