"""The two jobs on Bytewax, a list at a time, with the functions of the hand-written loop as steps.

    python flow.py explode|land SERVERS TOPIC INTO       (INTO is a topic or a file; the topic is read to its end)

Deduplicating with a set inside of the step is far cheaper than Bytewax's own keyed state, and not kept over a restart.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import mapping
from bytewax import operators as op
from bytewax.connectors import files, kafka
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

_AT_ONCE = 10_000


def flow(job: str, servers: str, topic: str, into: str) -> Dataflow:
    made = Dataflow(job)
    fetching: dict[str, str] = {"fetch.min.bytes": "65536"}
    source = kafka.KafkaSource([servers], [topic], tail=False, batch_size=_AT_ONCE, add_config=fetching)
    records = op.input("records", made, source)
    if job == "land":
        # One text of many lines per list: an item per line would cost more.
        op.output("file", op.flat_map_batch("map", records, _landing(mapping.Land())), files.FileSink(pathlib.Path(into), end=""))
    else:
        settings = {"acks": "all", "linger.ms": "50", "batch.size": "1000000", "queue.buffering.max.messages": "500000"}
        op.output(
            "topic", op.flat_map_batch("explode", records, _exploded), kafka.KafkaSink([servers], into, add_config=settings)
        )
    return made


def _landing(work: mapping.Land) -> Any:
    def lines(records: list[Any]) -> list[tuple[str, str]]:
        return [("", work.lines([record.value for record in records]).decode())]

    return lines


def _exploded(records: list[Any]) -> list[Any]:
    rows = mapping.explode([record.value for record in records])
    return [kafka.KafkaSinkMessage(key=key.encode(), value=value) for key, value in rows]


if __name__ == "__main__":
    cli_main(flow(*sys.argv[1:]))
