"""`penstock run` with a Kafka sink: the exploder example, and whatever may end the process or the broker in between."""

from __future__ import annotations

import collections
import itertools
import json
import pathlib
from typing import Any

import msgspec
from tests.integration import kafka_sink, running

EXPLODER = pathlib.Path(__file__).parents[2] / "examples" / "exploder" / "pipeline.yaml"


def exploder(bootstrap: str, prefix: str, **sink: Any) -> str:
    """The example, on this broker with topics of the test's own, and with orders that come over HTTP."""
    told = msgspec.yaml.decode(EXPLODER.read_text())
    told["spec"]["source"] = {"type": "Ingest", "ingest": {"maxEventBytes": 4 << 20, "partitionBy": ["customer"]}}
    told["spec"]["sinks"][0] |= sink
    kafka = told["spec"]["sinks"][0]["kafka"]
    kafka["bootstrapServers"] = [bootstrap]
    kafka["topic"] |= {"template": f"{prefix}.{{region}}", "otherwise": f"{prefix}.other"}
    return msgspec.yaml.encode(told).decode()


def order(number: int, items: int, region: str = "eu") -> dict[str, Any]:
    made = [{"sku": f"s{item}", "qty": item % 5, "price": 1.25} for item in range(items)]
    return {"order_id": f"o{number}", "customer": f"c{number % 20}", "region": region, "items": made}


def values(found: list[kafka_sink.Record]) -> list[dict[str, Any]]:
    return [json.loads(one.value or b"") for one in found]


def disorders(found: list[kafka_sink.Record]) -> int:
    """Records that come before an earlier one of their key; of repeats the first counts."""
    seen: set[str] = set()
    last: dict[bytes | None, tuple[int, ...]] = collections.defaultdict(tuple)
    count = 0
    for one in found:
        if one.event_id in seen:
            continue
        seen.add(one.event_id)
        place = tuple(map(int, one.event_id.split("/")[1:]))
        count += place < last[one.key]
        last[one.key] = max(place, last[one.key])
    return count


def test_the_exploder_makes_one_record_per_item_and_no_value_chooses_a_topic(kafka_server, tmp_path):
    """An order of 50,000 items, and regions that no list allows.

    Catches an exploded array that loses an item, order within an order that is not kept, a topic made by whoever sends.
    """
    prefix = kafka_sink.topic_name()
    hostile = ["../etc", "__consumer_offsets", "eu.us", "e" * 300, "", "EU", "eu\n"]
    with running.Running(tmp_path, exploder(kafka_server.bootstrap, prefix)) as run:
        run.start().send([order(0, 50_000), order(1, 2, "us"), *(order(2 + n, 1, name) for n, name in enumerate(hostile))])
        lane = run.settled().lanes[0]
        assert (lane.ledger.rows_written, lane.ledger.rows_dead_lettered) == (50_002 + len(hostile), 0)
        measured = run.metrics()
    found = kafka_sink.read(kafka_server.bootstrap, f"{prefix}.eu")
    assert [row["item_no"] for row in values(found)] == list(range(50_000))
    assert {(one.key, one.headers["region"], one.partition) for one in found} == {(b"c0", b"eu", found[0].partition)}
    assert values(found)[4] == {"order_id": "o0", "customer": "c0", "item_no": 4, "sku": "s4", "amount": 5.0}
    assert len(kafka_sink.read(kafka_server.bootstrap, f"{prefix}.us")) == 2
    assert len(kafka_sink.read(kafka_server.bootstrap, f"{prefix}.other")) == len(hostile)
    for stage in ("encode", "produce"):
        assert measured[f'penstock_sink_stage_seconds_count{{sink_type="Kafka",stage="{stage}"}}'] > 0
    assert measured['penstock_sink_queue_records{sink_type="Kafka"}'] == 0


def test_a_kill_loses_nothing_and_repeats_what_was_not_committed_at_most(kafka_server, tmp_path, monkeypatch):
    """kill -9 with records that the brokers have and the log does not know of.

    Catches an offset that moves before its records are durable, an event id that changes with the process, and a retry that
    overtakes within a key.
    """
    prefix = kafka_sink.topic_name()
    small = {"static": {"rows": 200, "lingerMilliseconds": 10}, "limits": {"rows": 200}}
    text = exploder(kafka_server.bootstrap, prefix, batching=small)
    with running.Running(tmp_path, text) as run:
        numbers = itertools.count()
        for turn in range(2):
            monkeypatch.setenv("PENSTOCK_FAILPOINTS", f"kafka.acknowledged=kill@{2 + turn}")
            run.start()
            for _ in range(10):
                try:
                    run.send(order(next(numbers), 7) for _ in range(40))
                except OSError:
                    break
            run.pipeline.process.wait(timeout=running.PATIENCE_SECONDS)
        monkeypatch.delenv("PENSTOCK_FAILPOINTS")
        status = run.start().settled()
    found = kafka_sink.read(kafka_server.bootstrap, f"{prefix}.eu")
    assert len({one.event_id for one in found}) == status.lanes[0].ledger.rows_written
    # The turns die at their second and third batch: no more than these can have landed since its last commit.
    assert kafka_sink.duplicates(found) <= (2 + 3) * 200
    assert disorders(found) == 0


def test_a_broker_that_is_killed_and_comes_back_costs_time_alone(kafka_server, tmp_path):
    """Catches a producer that never sends again, letters for an outage, and order that a retry loses."""
    prefix = kafka_sink.topic_name()
    text = exploder(
        kafka_server.bootstrap,
        prefix,
        batching={"static": {"rows": 300, "lingerMilliseconds": 10}, "limits": {"rows": 300}},
        writeTimeoutSeconds=5,
        retry={"initialBackoffMilliseconds": 50, "maxBackoffMilliseconds": 500},
        circuitBreaker={"openSeconds": 1},
    )
    with running.Running(tmp_path, text) as run:
        run.start().send(order(number, 7) for number in range(200))
        try:
            kafka_server.broker.kill()
            run.send(order(number, 7) for number in range(200, 400))
        finally:
            kafka_server.broker.start()
        run.send(order(number, 7) for number in range(400, 600))
        lane = run.settled().lanes[0]
    assert (lane.ledger.rows_written, lane.ledger.rows_dead_lettered) == (4_200, 0)
    found = kafka_sink.read(kafka_server.bootstrap, f"{prefix}.eu")
    made = collections.Counter((row["order_id"], row["item_no"]) for row in values(found))
    assert len(made) == 4_200
    assert kafka_sink.duplicates(found) <= 600
    assert disorders(found) == 0
