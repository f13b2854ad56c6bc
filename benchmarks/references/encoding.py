"""Encoding, one row after the other."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]


def parquet(rows: Sequence[Row], schema: pa.Schema) -> pa.Buffer:
    """The rows as one Parquet file."""
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out, compression="zstd", compression_level=1)
    return out.getvalue()


def block(events: Sequence[Row]) -> tuple[bytes, int]:
    """The events as compressed lines of JSON, and their length before."""
    lines = b"\n".join([json.dumps(event, default=_plain).encode() for event in events])
    return pa.Codec("zstd", compression_level=1).compress(lines, asbytes=True), len(lines)


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value.isoformat()


def unblock(encoded: tuple[bytes, int]) -> list[Row]:
    """What `block` was given, times and bytes as text."""
    value, size = encoded
    lines = pa.Codec("zstd").decompress(value, decompressed_size=size, asbytes=True)
    return [json.loads(line) for line in lines.split(b"\n")]


def as_text(event: Row) -> Row:
    """The event as `unblock` gives it."""
    return {name: _plain(value) if isinstance(value, bytes | datetime.datetime) else value for name, value in event.items()}
