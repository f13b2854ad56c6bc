"""A lane's transform over 200 events of 1 KB whose text an expression repeats 10,000 times: prints the peak of its memory.

A process of its own, because a peak can't be taken back.
"""

from __future__ import annotations

import json
import resource
import sys

import pyarrow as pa
from tests.integration import lane_run

from penstock.api import load
from penstock.batcher.reading import prepare
from penstock.core import blocks, parse, schema
from penstock.log import port
from penstock.machine import lanes

EVENTS, TEXT_BYTES, TIMES = 200, 1_000, 10_000


def main(expression: str) -> None:
    select = [{"name": "id"}, {"name": "big", "value": expression}]
    pipeline = load.load_one(lane_run.pipeline(transform={"select": select}))
    settings = lanes.lane_for(pipeline, pipeline.spec.sinks[0])
    preparer = prepare.Preparer(settings, "log")
    documents = [json.dumps({"id": f"e{at}", "kind": "k" * TEXT_BYTES}).encode() for at in range(EVENTS)]
    batch = parse.EventParser(settings.event_schema, 1 << 20).parse(documents).batch
    stamps = pa.array([1] * EVENTS, pa.timestamp("us", tz="UTC"))
    stamped = batch.append_column(pa.field(blocks.RECEIVED_AT, stamps.type), stamps)
    value, headers = blocks.encode(stamped, schema.fingerprint(settings.event_schema))
    told = {"topic": port.EVENTS, "partition": 0, "offset": 0, "append_time_microseconds": 1, "producer": "p", "sequence": 0}
    group = preparer.read(0, [port.Record(value=value, headers=headers, **told)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = calls = made_bytes = 0
    # As a lane does, one call after the other; between them it waits for room.
    for start, stop in group.runs(settings.transform_rows, settings.transform_bytes):
        made = preparer.transform(group, start, stop, 0.0)
        rows, calls, made_bytes = rows + made.chunk.rows.num_rows, calls + 1, made_bytes + made.chunk.bytes
        del made
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"rows": rows, "calls": calls, "made_bytes": made_bytes, "grown_bytes": (peak - before) * 1024}))


if __name__ == "__main__":
    main(sys.argv[1])
