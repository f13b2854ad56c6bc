"""Compressed bodies."""

from __future__ import annotations

import gzip
import zlib

import pyarrow as pa
import pytest

from penstock.ingest import unpacking

_TEXT = b'{"id":"a"}\n' * 50_000


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


_PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}


@pytest.mark.parametrize("encoding", _PACKED)
def test_every_encoding_unpacks_in_bounded_pieces(encoding: str) -> None:
    """Catches a piece of any size, and a body of two parts cut short."""
    packed = _PACKED[encoding](_TEXT)
    pieces = list(unpacking.pieces(encoding, packed))
    assert b"".join(pieces) == _TEXT
    assert max(map(len, pieces)) <= unpacking.PIECE_BYTES
    if encoding != "deflate":
        assert b"".join(unpacking.pieces(encoding, packed + _PACKED[encoding](b"more"))) == _TEXT + b"more"


@pytest.mark.parametrize("encoding", _PACKED)
def test_what_is_cut_off_or_something_else_is_refused(encoding: str) -> None:
    """Catches a truncated body taken for a short one, and an endless loop on it."""
    for bad in (_PACKED[encoding](_TEXT)[:-9], b"junk that is no archive", _PACKED[encoding](b"a") + b"tail"):
        with pytest.raises(unpacking.BrokenBodyError):
            list(unpacking.pieces(encoding, bad))


@pytest.mark.parametrize("encoding", _PACKED)
def test_a_bomb_gives_one_piece_at_a_time(encoding: str) -> None:
    """Catches a body that is unpacked as a whole before anybody can look at its size."""
    bomb = _PACKED[encoding](bytes(200 * 1024 * 1024))
    assert len(next(unpacking.pieces(encoding, bomb))) <= unpacking.PIECE_BYTES
