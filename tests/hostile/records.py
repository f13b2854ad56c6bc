"""Hostile records of the log: blocks on disk that somebody or something has changed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import pyarrow as pa
from tests.hostile import entry

from penstock.core import blocks

Record = tuple[bytes, Mapping[str, bytes]]
_CHECKSUM, _BYTES, _ROWS = "penstock-crc32", "penstock-stream-bytes", "penstock-rows"


def good(rows: int = 10) -> Record:
    """A block as it should be: compressed as a whole, or buffer by buffer from 5,000 rows on."""
    return blocks.encode(pa.record_batch({"id": [f"e{n}" for n in range(rows)], "n": list(range(rows))}), "0" * 16)


def _headers(**changed: bytes | None) -> Callable[[], Record]:
    def make() -> Record:
        value, headers = good()
        told = {name.replace("_", "-"): text for name, text in changed.items()}
        return value, {name: text for name, text in (dict(headers) | told).items() if text is not None}

    return make


def resealed(value: bytes, headers: Mapping[str, bytes]) -> Record:
    """With a checksum that fits, as only a writer with a fault or with malice makes it."""
    return value, {**headers, _CHECKSUM: b"%08x" % zlib.crc32(value)}


def flipped(value: bytes, bit: int) -> bytes:
    """One bit turned over; `bit` counts modulo the length."""
    place = bit // 8 % len(value)
    return value[:place] + bytes([value[place] ^ 1 << bit % 8]) + value[place + 1 :]


def _changed(change: Callable[[bytes], bytes], rows: int = 10) -> Callable[[], Record]:
    def make() -> Record:
        value, headers = good(rows)
        return resealed(change(value), headers)

    return make


_RECORDS: dict[str, Callable[[], Record]] = {
    "a flipped bit": lambda: (flipped(good()[0], 801), good()[1]),
    "no bytes": lambda: (b"", good()[1]),
    "cut short": lambda: (good()[0][:-1], good()[1]),
    "no headers": lambda: (good()[0], {}),
    "a later format": _headers(penstock_format=b"2"),
    "a format that is no number": _headers(penstock_format=b"\xff"),
    "an unknown compression": _headers(penstock_compression=b"lzma"),
    "rows that are not there": _headers(penstock_rows=b"11"),
    "minus one row": _headers(penstock_rows=b"-1"),
    "no rows header": _headers(penstock_rows=None),
    "a fingerprint that is not ASCII": _headers(penstock_schema=b"\xff"),
    "a length of 4 TiB": _headers(penstock_stream_bytes=b"%d" % (1 << 42)),
    "a length of 0": _headers(penstock_stream_bytes=b"0"),
    "a negative length": _headers(penstock_stream_bytes=b"-1"),
    "a length of 10,000 digits": _headers(penstock_stream_bytes=b"9" * 10_000),
    "a length one too small": lambda: (good()[0], {**good()[1], _BYTES: b"%d" % (int(good()[1][_BYTES]) - 1)}),
    "compressed in another way than it says": _headers(penstock_compression=b"buffers"),
    "sealed: no bytes": _changed(lambda value: b""),
    "sealed: cut in half": _changed(lambda value: value[: len(value) // 2]),
    "sealed: buffers cut in half": _changed(lambda value: value[: len(value) // 2], 5_000),
    "sealed: not an Arrow stream": _changed(lambda value: b"x" * 100, 5_000),
    "sealed: zeros": _changed(lambda value: bytes(len(value)), 5_000),
    "sealed: ones": _changed(lambda value: b"\xff" * len(value), 5_000),
    "sealed: a bit of the schema": _changed(lambda value: flipped(value, 700), 5_000),
}
RECORDS = tuple(entry.Block(name=name, make=make) for name, make in _RECORDS.items())
