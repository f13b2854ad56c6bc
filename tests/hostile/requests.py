"""Hostile requests over HTTP: bodies, encodings, headers, connections."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

import pyarrow as pa
from pyarrow import ipc
from tests.hostile import entry

_GZIP = (("Content-Encoding", "gzip"),)
_ZSTD = (("Content-Encoding", "zstd"),)
_GOOD = b'{"id":"packed"}\n'
_CE = (("ce-specversion", "1.0"), ("ce-source", "/s"), ("ce-type", "t"))


def _zstd(data: bytes) -> bytes:
    packed = pa.compress(data, codec="zstd", asbytes=True)
    assert isinstance(packed, bytes)
    return packed


def _bomb(pack: object = gzip.compress) -> bytes:
    assert callable(pack)
    return bytes(pack(bytes(256 * entry.MIB)))


def _stream(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _zeros(rows: int) -> pa.Table:
    return (
        pa.table({"id": pa.array(["x"] * 10), "n": pa.array([0] * 10)})
        if not rows
        else pa.table({"id": ["x"] * rows, "n": [0] * rows})
    )


def _lying() -> bytes:
    """A compressed buffer that says it will be 4 TiB."""
    stream = bytearray(_stream(_zeros(100_000), compression="zstd"))
    place = stream.index(struct.pack("<q", 800_000))
    stream[place : place + 8] = struct.pack("<q", 1 << 42)
    return bytes(stream)


def _event(**members: object) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "ce", "source": "/s", "type": "t"} | members).encode()


REQUESTS = (
    entry.Request(name="an empty body", make=lambda: b""),
    entry.Request(name="white space only", make=lambda: b" \n\t\r\n"),
    entry.Request(name="empty lines between events", make=lambda: b'\n\n{"id":"lines"}\n\r\n \n{"id":"lines"}\n\n'),
    entry.Request(name="a byte order mark before the lines", make=lambda: b'\xef\xbb\xbf{"id":"bom"}\n'),
    entry.Request(name="carriage returns alone", make=lambda: b'{"id":"cr"}\r{"id":"cr"}\r'),
    entry.Request(name="lines as an array", make=lambda: _GOOD, kind=entry.JSON),
    entry.Request(name="an array as lines", make=lambda: b'[{"id":"a"},\n{"id":"b"}]'),
    entry.Request(name="an array that is not closed", make=lambda: b'[{"id":"array"},{"id":', kind=entry.JSON),
    entry.Request(name="text after an array", make=lambda: b'[{"id":"array"}] x', kind=entry.JSON),
    entry.Request(name="an array of a million numbers", make=lambda: b"[" + b"0," * 999_999 + b"0]", kind=entry.JSON),
    entry.Request(name="an array of a million and one", make=lambda: b"[" + b"0," * 1_000_000 + b"0]", kind=entry.JSON),
    entry.Request(name="a million lines and one", make=lambda: b"{}\n" * 1_000_002),
    entry.Request(name="another content type", make=lambda: _GOOD, kind="application/xml"),
    entry.Request(name="an unknown encoding", make=lambda: _GOOD, headers=(("Content-Encoding", "br"),)),
    entry.Request(name="two encodings", make=lambda: gzip.compress(_GOOD), headers=(("Content-Encoding", "gzip, gzip"),)),
    entry.Request(name="a gzip bomb of 1000:1", make=_bomb, headers=_GZIP),
    entry.Request(name="a gzip bomb in a gzip bomb", make=lambda: gzip.compress(_bomb()), headers=_GZIP),
    entry.Request(name="gzip in many members", make=lambda: gzip.compress(_GOOD) * 3, headers=_GZIP),
    entry.Request(
        name="20,000 empty gzip members", make=lambda: gzip.compress(b"") * 20_000 + gzip.compress(_GOOD), headers=_GZIP
    ),
    entry.Request(name="gzip cut short", make=lambda: gzip.compress(_GOOD)[:-5], headers=_GZIP),
    entry.Request(name="gzip with text after it", make=lambda: gzip.compress(_GOOD) + b"garbage", headers=_GZIP),
    entry.Request(name="gzip with a wrong checksum", make=lambda: gzip.compress(_GOOD)[:-8] + bytes(8), headers=_GZIP),
    entry.Request(name="text that says gzip", make=lambda: _GOOD, headers=_GZIP),
    entry.Request(
        name="a deflate bomb",
        make=lambda: zlib.compress(bytes(256 * entry.MIB)),
        headers=(("Content-Encoding", "deflate"),),
    ),
    entry.Request(name="a zstd bomb", make=lambda: _bomb(_zstd), headers=_ZSTD),
    entry.Request(
        name="zstd that declares a window of 2 GiB", make=lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00", headers=_ZSTD
    ),
    entry.Request(name="zstd cut short", make=lambda: _zstd(_GOOD * 9)[:-3], headers=_ZSTD),
    entry.Request(name="zstd with text after it", make=lambda: _zstd(_GOOD) + b"garbage", headers=_ZSTD),
    entry.Request(name="a key with a line break's escape", make=lambda: _GOOD, headers=(("Idempotency-Key", "a%0d%0ab"),)),
    entry.Request(name="a key with a space", make=lambda: _GOOD, headers=(("Idempotency-Key", "a b"),)),
    entry.Request(name="a key of 256 characters", make=lambda: _GOOD, headers=(("Idempotency-Key", "k" * 256),)),
    entry.Request(name="a trace of nonsense", make=lambda: _GOOD, headers=(("traceparent", "00-" + "z" * 32 + "-1-01"),)),
    entry.Request(name="an Arrow stream of text", make=lambda: b"not arrow", kind=entry.ARROW),
    entry.Request(name="an Arrow stream cut short", make=lambda: _stream(_zeros(10))[:-90], kind=entry.ARROW),
    entry.Request(
        name="an Arrow column of another type", make=lambda: _stream(pa.table({"id": ["a"], "n": ["one"]})), kind=entry.ARROW
    ),
    entry.Request(
        name="an Arrow column twice", make=lambda: _stream(pa.table([["a"], ["b"]], names=["id", "id"])), kind=entry.ARROW
    ),
    entry.Request(
        name="an Arrow dictionary that shares a megabyte",
        make=lambda: _stream(
            pa.table({"id": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * entry.MIB])})
        ),
        kind=entry.ARROW,
    ),
    entry.Request(
        name="an Arrow stream that unpacks to 1 GiB",
        make=lambda: _stream(pa.table({"n": pa.array([0] * 30_000_000)}), compression="zstd"),
        kind=entry.ARROW,
    ),
    entry.Request(name="an Arrow buffer that says 4 TiB", make=_lying, kind=entry.ARROW),
    entry.Request(
        name="an Arrow stream of a billion NULLs",
        make=lambda: _stream(pa.table({"zz": pa.nulls(1_000_000_000)})),
        kind=entry.ARROW,
    ),
    entry.Request(
        name="an Arrow stream with text that is not UTF-8",
        make=lambda: _stream(pa.table({"id": pa.array([b"\xff"]).view(pa.string())})),
        kind=entry.ARROW,
    ),
    entry.Request(name="a CloudEvent without an id", make=lambda: _event(id=""), kind=entry.CLOUD_EVENT, path="/v1/events"),
    entry.Request(
        name="a CloudEvent of version 0.3", make=lambda: _event(specversion="0.3"), kind=entry.CLOUD_EVENT, path="/v1/events"
    ),
    entry.Request(
        name="CloudEvents, one with both kinds of data",
        make=lambda: b"[" + _event() + b"," + _event(data=1, data_base64="AA==") + b"]",
        kind=entry.CLOUD_EVENTS,
    ),
    entry.Request(
        name="a CloudEvent whose header carries a line break",
        make=lambda: b"{}",
        kind=entry.JSON,
        path="/v1/events",
        headers=(*_CE, ("ce-id", "a%0d%0aX-Evil: 1")),
    ),
    entry.Request(
        name="a CloudEvent whose header names data",
        make=lambda: b"{}",
        kind=entry.JSON,
        path="/v1/events",
        headers=(*_CE, ("ce-id", "ce"), ("ce-data", "x")),
    ),
    entry.Request(
        name="a CloudEvent whose attribute comes twice",
        make=lambda: b"{}",
        kind=entry.JSON,
        path="/v1/events",
        headers=(*_CE, ("ce-id", "ce"), ("ce-id", "other")),
    ),
    entry.Request(
        name="a CloudEvent whose body adds members",
        make=lambda: b'1,"id":"stolen"',
        kind=entry.JSON,
        path="/v1/events",
        headers=(*_CE, ("ce-id", "ce")),
    ),
)

_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
_BODY = b'{"id":"raw"}'
RAW = (
    entry.Raw(name="10,000 headers", make=lambda: _HEAD + b"".join(b"X-H%d: y\r\n" % n for n in range(10_000)) + b"\r\n"),
    entry.Raw(name="a header of 1 MiB", make=lambda: _HEAD + b"X-Large: " + b"x" * entry.MIB + b"\r\n\r\n"),
    entry.Raw(name="a path of 1 MiB", make=lambda: b"POST /" + b"x" * entry.MIB + b" HTTP/1.1\r\nHost: here\r\n\r\n"),
    entry.Raw(name="a header with a bare carriage return", make=lambda: _HEAD + b"X-A: a\rX-B: b\r\n\r\n"),
    entry.Raw(name="a header with a NUL", make=lambda: _HEAD + b"Idempotency-Key: a\0b\r\nContent-Length: 12\r\n\r\n" + _BODY),
    entry.Raw(
        name="a header folded over two lines",
        make=lambda: _HEAD + b"Idempotency-Key: a\r\n b\r\nContent-Length: 12\r\n\r\n" + _BODY,
    ),
    entry.Raw(name="two lengths", make=lambda: _HEAD + b"Content-Length: 12\r\nContent-Length: 3\r\n\r\n" + _BODY),
    entry.Raw(
        name="a length and chunks", make=lambda: _HEAD + b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    entry.Raw(name="a negative length", make=lambda: _HEAD + b"Content-Length: -1\r\n\r\n"),
    entry.Raw(name="a length beyond any memory", make=lambda: _HEAD + b"Content-Length: 99999999999999\r\n\r\n{"),
    entry.Raw(name="a chunk beyond any memory", make=lambda: _HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{"),
    entry.Raw(name="no HTTP at all", make=lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n"),
)
