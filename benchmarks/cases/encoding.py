"""`encode_block`: a block for the log; `encode_files`: rows as the bytes of a Parquet file."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import case, events, stage
from benchmarks.references import encoding, mapping, parsing
from penstock.core import blocks
from penstock.core import schema as schemas
from penstock.core.transform import transform
from penstock.sinks.files import formats as files_format

_RECEIVED = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)

Rows = list[dict[str, Any]]
Encoded = tuple[bytes, dict[str, bytes]]


class BlockBench:
    """Blocks with everything ingest puts in them, the events' own bytes too."""

    def __init__(self, count: int) -> None:
        self._fingerprint = schemas.fingerprint(events.schema())
        schema = blocks.block_schema(events.schema())
        rows = []
        for document in events.documents(count, seed=4):
            added = {blocks.ORIGINAL: document, blocks.RECEIVED_AT: _RECEIVED, blocks.TRACE: None}
            rows.append(parsing.event(document) | added)
        parts = [rows[start : start + events.BLOCK_EVENTS] for start in range(0, count, events.BLOCK_EVENTS)]
        self._inputs = [(pa.RecordBatch.from_pylist(part, schema=schema), part) for part in parts]
        self._encoded_bytes = 0.0

    def inputs(self) -> list[tuple[pa.RecordBatch, Rows]]:
        return self._inputs

    def product(self, inputs: list[tuple[pa.RecordBatch, Rows]]) -> list[Encoded]:
        return [blocks.encode(batch, self._fingerprint) for batch, _ in inputs]

    def reference(self, inputs: list[tuple[pa.RecordBatch, Rows]]) -> list[tuple[bytes, int]]:
        return [encoding.block(rows) for _, rows in inputs]

    def check(self, product: list[Encoded], reference: list[tuple[bytes, int]]) -> None:
        self._encoded_bytes = sum(len(value) for value, _ in product) / sum(len(rows) for _, rows in self._inputs)
        for (value, headers), plain, (_, rows) in zip(product, reference, self._inputs, strict=True):
            decoded = blocks.decode(value, headers).to_pylist()
            case.require_same("block", decoded, rows)
            case.require_same("lines", encoding.unblock(plain), [encoding.as_text(row) for row in decoded])

    def extra(self) -> dict[str, Any]:
        return {"bytes_per_event": round(self._encoded_bytes)}


class FilesBench:
    """The rows of pipeline.yaml, as many as one file has."""

    def __init__(self, count: int) -> None:
        made = transform.Transform(events.transform())
        self._rows = mapping.transform(parsing.events(events.documents(count * 5 // 4, seed=6)))[:count]
        self._schema = made.output_schema
        made.close()
        self._table = pa.Table.from_pylist(self._rows, schema=self._schema)
        self._file_bytes = 0.0

    def inputs(self) -> tuple[pa.Table, Rows]:
        return self._table, self._rows

    def product(self, inputs: tuple[pa.Table, Rows]) -> pa.Buffer:
        return files_format.encode(inputs[0], files_format.Format.PARQUET)

    def reference(self, inputs: tuple[pa.Table, Rows]) -> pa.Buffer:
        return encoding.parquet(inputs[1], self._schema)

    def check(self, product: pa.Buffer, reference: pa.Buffer) -> None:
        self._file_bytes = product.size / len(self._rows)
        mine, plain = (pq.read_table(pa.BufferReader(buffer), use_threads=False) for buffer in (product, reference))
        case.require_same("file", mine, plain)
        case.require_same("rows", mine.num_rows, len(self._rows))

    def extra(self) -> dict[str, Any]:
        return {"bytes_per_row": round(self._file_bytes)}


CASES = [
    stage.StageCase(
        name="encode_block",
        says="parsed events to a compressed block of the log, 10,000 each; beside a JSON line per event, compressed",
        target=case.Target(),
        events=50_000,
        quick_events=2_000,
        open=BlockBench,
    ),
    stage.StageCase(
        name="encode_files",
        says="50,000 rows to the bytes of one Parquet file; beside Table.from_pylist and the same writer",
        target=case.Target(cpu_us=0.8),
        events=50_000,
        quick_events=2_000,
        open=FilesBench,
        unit="row",
    ),
]
