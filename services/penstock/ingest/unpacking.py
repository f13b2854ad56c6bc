"""Compressed bodies, unpacked piece by piece so that a small body that grows without end is stopped while it grows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import pyarrow as pa

PIECE_BYTES = 256 * 1024
_ZLIB_ALL_BITS = 15
_GZIP = 16 + _ZLIB_ALL_BITS


class BrokenBodyError(Exception):
    """The body is not what its content encoding says, or ends too early."""


def pieces(encoding: str, body: bytes) -> Iterator[bytes]:
    """The unpacked body in pieces of at most PIECE_BYTES. Raises BrokenBodyError from the iterator."""
    return _UNPACKERS[encoding](body)


def _zlib(body: bytes, window_bits: int) -> Iterator[bytes]:
    rest = body
    while rest:
        member = zlib.decompressobj(window_bits)
        while not member.eof:
            try:
                piece = member.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise BrokenBodyError(str(error)) from error
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise BrokenBodyError("the body ends too early")
            yield piece
        rest = member.unused_data


def _zstd(body: bytes) -> Iterator[bytes]:
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise BrokenBodyError(str(error)) from error


_UNPACKERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": lambda body: _zlib(body, _GZIP),
    "x-gzip": lambda body: _zlib(body, _GZIP),
    "deflate": lambda body: _zlib(body, _ZLIB_ALL_BITS),
    "zstd": _zstd,
}
ENCODINGS = ("gzip", "deflate", "zstd")
"""What is advertised; `x-gzip` is an old name."""


def is_known(encoding: str) -> bool:
    return encoding in _UNPACKERS
