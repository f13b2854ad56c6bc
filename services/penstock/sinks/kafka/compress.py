"""Compression as Kafka's other clients read it, by the codecs that Arrow brings.

Kafka's lz4 wants a frame of independent blocks and its snappy the framing of the Java library; Arrow gives neither, so both
frames are written here.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

import pyarrow as pa

_LENGTH_LITTLE = struct.Struct("<I")
_LENGTH_BIG = struct.Struct(">I")
# Magic, version 1 with independent blocks, blocks of up to 4 MiB, and the checksum of the two bytes before it.
_LZ4_START = bytes.fromhex("04224d18 60 70 73".replace(" ", ""))
_LZ4_BLOCK = 4 << 20
_LZ4_STORED = 1 << 31
_LZ4_END = bytes(4)
_SNAPPY_START = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
_SNAPPY_BLOCK = 32 << 10


class Codec(enum.Enum):
    """The values are the API's words."""

    NONE = "None"
    GZIP = "Gzip"
    SNAPPY = "Snappy"
    LZ4 = "Lz4"
    ZSTD = "Zstd"

    @property
    def attribute(self) -> int:
        """As a record batch says it."""
        return list(Codec).index(self)

    def compress(self, content: memoryview) -> bytes | memoryview:
        """Where nothing is compressed, the content itself."""
        match self:
            case Codec.NONE:
                return content
            case Codec.LZ4:
                return b"".join(_lz4(content))
            case Codec.SNAPPY:
                return b"".join(_snappy(content))
            case _:
                return bytes(pa.Codec(self.value.lower()).compress(content, asbytes=True))


def _lz4(content: memoryview) -> Iterator[bytes]:
    codec = pa.Codec("lz4_raw")
    yield _LZ4_START
    for block in _blocks(content, _LZ4_BLOCK):
        packed = codec.compress(block, asbytes=True)
        if len(packed) < len(block):
            yield _LENGTH_LITTLE.pack(len(packed)) + packed
        else:
            yield _LENGTH_LITTLE.pack(len(block) | _LZ4_STORED) + bytes(block)
    yield _LZ4_END


def _snappy(content: memoryview) -> Iterator[bytes]:
    codec = pa.Codec("snappy")
    yield _SNAPPY_START
    for block in _blocks(content, _SNAPPY_BLOCK):
        packed = codec.compress(block, asbytes=True)
        yield _LENGTH_BIG.pack(len(packed)) + packed


def _blocks(content: memoryview, size: int) -> Iterator[memoryview]:
    return (content[start : start + size] for start in range(0, len(content), size))
