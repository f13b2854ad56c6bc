"""`parse`: JSON documents to typed columns, in blocks as ingest reads them."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import case, events, stage
from benchmarks.references import parsing
from penstock.core import parse

MAX_EVENT_BYTES = 65_536

Blocks = list[list[bytes]]


class ParseBench:
    def __init__(self, count: int) -> None:
        self._parser = parse.EventParser(events.schema(), MAX_EVENT_BYTES)
        documents = list(events.documents(count))
        self._blocks = [documents[start : start + events.BLOCK_EVENTS] for start in range(0, count, events.BLOCK_EVENTS)]
        self._bytes = sum(map(len, documents)) / count
        self._loads_us: list[float] = []
        self._parse_us: list[float] = []

    def inputs(self) -> Blocks:
        self._loads_us.append(_loads_us(self._blocks))
        return self._blocks

    def product(self, inputs: Blocks) -> list[parse.Parsed]:
        started = time.process_time()
        parsed = [self._parser.parse(block) for block in inputs]
        if not tracemalloc.is_tracing():
            self._parse_us.append((time.process_time() - started) / sum(map(len, inputs)) * 1e6)
        return parsed

    def reference(self, inputs: Blocks) -> list[tuple[pa.RecordBatch, list[int]]]:
        return [parsing.parse(block, self._parser.batch_schema) for block in inputs]

    def check(self, product: Sequence[parse.Parsed], reference: Sequence[tuple[pa.RecordBatch, list[int]]]) -> None:
        for parsed, (batch, refused) in zip(product, reference, strict=True):
            case.require_same("refused", [why.index for why in parsed.rejected], refused)
            case.require_same("columns", parsed.batch, batch)

    def extra(self) -> dict[str, Any]:
        """`json.loads` alone, without checks or columns, is what "the standard library" means in its strictest reading."""
        ratios = [loads / parse for loads, parse in zip(self._loads_us[1:], self._parse_us[1:], strict=True)]
        return {
            "bytes_per_event": round(self._bytes),
            "json_loads_alone_us": float(np.median(self._loads_us[1:])),
            "ratio_to_json_loads_alone": float(np.median(ratios)),
        }


def _loads_us(blocks: Blocks) -> float:
    started = time.process_time()
    for block in blocks:
        for document in block:
            json.loads(document)
    return (time.process_time() - started) / sum(map(len, blocks)) * 1e6


CASES = [
    stage.StageCase(
        name="parse",
        says="JSON to typed columns, blocks of 10,000; beside json.loads, a check per field, columns",
        target=case.Target(cpu_us=1.7, ratio=3),
        events=100_000,
        quick_events=2_000,
        open=ParseBench,
    )
]
