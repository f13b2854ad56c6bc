"""Blocks as bytes and headers, and reading older ones."""

from __future__ import annotations

import base64
import json
import pathlib

import pyarrow as pa
import pytest

from penstock.core import blocks

_GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "blocks"
_FINGERPRINT = "0123456789abcdef"


def _batch(rows: int) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "id": [f"id-{row}" for row in range(rows)],
            "n": pa.array(range(rows), pa.int64()),
            "s": pa.array([{"a": row} for row in range(rows)], pa.struct([("a", pa.int32())])),
            blocks.ORIGINAL: pa.array([b'{"n":%d}' % row for row in range(rows)], pa.binary()),
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 4_999, 5_000, 12_000])
def test_what_was_encoded_is_decoded(rows: int) -> None:
    """Catches a compression that the header does not tell, on both sides of the threshold."""
    value, headers = blocks.encode(_batch(rows), _FINGERPRINT, "00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    header = blocks.read_header(headers)
    assert blocks.decode(value, headers).equals(_batch(rows))
    assert (header.rows, header.fingerprint, header.traceparent[:4]) == (rows, _FINGERPRINT, "00-1")
    assert (header.compression is blocks.Compression.BUFFERS) == (rows >= 5_000)


@pytest.mark.parametrize("rows", [3, 6_000])
@pytest.mark.parametrize("columns", [("s", "id"), ("n", "not here"), ("not here",), ()], ids=str)
def test_only_the_columns_asked_for_come_back_in_their_order(rows: int, columns: tuple[str, ...]) -> None:
    """Catches field indices taken for leaf indices, an empty selection that means all, and a lost row count."""
    value, headers = blocks.encode(_batch(rows), _FINGERPRINT)
    batch = blocks.decode(value, headers, columns=columns)
    wanted = [name for name in columns if name != "not here"]
    assert batch.num_rows == rows
    assert batch.equals(_batch(rows).select(wanted))


@pytest.mark.parametrize("columns", [["id"], []], ids=str)
def test_a_column_that_is_not_asked_for_is_not_decompressed(columns: list[str]) -> None:
    """Catches a read of everything followed by a selection: the most memory held at any time tells."""
    rows = 6_000
    big = pa.record_batch({"id": pa.array(range(rows)), blocks.ORIGINAL: pa.array([b"x" * 1_000] * rows, pa.binary())})
    value, headers = blocks.encode(big, _FINGERPRINT)
    usual, watched = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(watched)
    try:
        assert blocks.decode(value, headers, columns=columns).num_rows == rows
    finally:
        pa.set_memory_pool(usual)
    assert 0 < watched.max_memory() < 500_000


@pytest.mark.parametrize("version", [b"2", b"0", b"", None, b"one"], ids=str)
def test_an_unknown_format_is_not_called_corrupt(version: bytes | None) -> None:
    """Catches a newer writer's block taken for damage: the remedy is an upgrade, not a skip."""
    value, headers = blocks.encode(_batch(3), _FINGERPRINT)
    headers = {name: text for name, text in headers.items() if name != "penstock-format"}
    with pytest.raises(blocks.BlockFormatError, match="upgrade"):
        blocks.decode(value, headers | ({"penstock-format": version} if version is not None else {}))


@pytest.mark.parametrize("rows", [3, 6_000])
def test_any_damage_is_found(rows: int) -> None:
    """Catches decoding before the checksum: a flipped bit in Arrow's metadata can end the process, one in data passes."""
    value, headers = blocks.encode(_batch(rows), _FINGERPRINT)
    for place in range(0, len(value), max(1, len(value) // 50)):
        damaged = bytearray(value)
        damaged[place] ^= 0x10
        with pytest.raises(blocks.CorruptBlockError):
            blocks.decode(bytes(damaged), headers)
    with pytest.raises(blocks.CorruptBlockError):
        blocks.decode(value[:-1], headers)


def test_headers_that_lie_are_corrupt() -> None:
    """Catches trust in the row count, which addresses and the ledger are made from."""
    value, headers = blocks.encode(_batch(3), _FINGERPRINT)
    for change in [{"penstock-rows": b"4"}, {"penstock-rows": b"x"}, {"penstock-compression": b"lz9"}]:
        with pytest.raises(blocks.CorruptBlockError):
            blocks.decode(value, headers | change)


@pytest.mark.parametrize("path", sorted(_GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_blocks_of_every_format_version_written_are_read(path: pathlib.Path) -> None:
    """Catches a change of the format without a new version number."""
    golden = json.loads(path.read_text())
    headers = {name: text.encode() for name, text in golden["headers"].items()}
    batch = blocks.decode(base64.b64decode(golden["value"]), headers)
    assert batch.num_rows == golden["rows"]
    assert batch.slice(0, 2).equals(_batch(2))


def test_there_is_a_golden_block_of_the_current_version_in_both_compressions() -> None:
    """Catches a new version without its golden files."""
    names = {path.stem for path in _GOLDEN.glob("*.json")}
    assert {f"v{blocks.FORMAT_VERSION}-stream", f"v{blocks.FORMAT_VERSION}-buffers"} <= names


def test_an_older_block_is_read_by_name() -> None:
    """Catches columns matched by place, and a missing column that is not NULL."""
    wanted = pa.schema([("new", pa.string()), ("n", pa.string()), ("id", pa.string())])
    conformed = blocks.conform(_batch(2), wanted)
    assert conformed.schema.equals(wanted)
    assert conformed.to_pydict() == {"new": [None, None], "n": ["0", "1"], "id": ["id-0", "id-1"]}


def test_a_narrowed_column_is_named() -> None:
    """Catches a cast that loses something in silence."""
    with pytest.raises(blocks.BlockFormatError, match="column 'n' holds int64 and can't be read as int32"):
        blocks.conform(_batch(2), pa.schema([("n", pa.int32())]))
