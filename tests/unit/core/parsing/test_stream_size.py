"""The size of Arrow streams before they are decoded."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import ipc

from penstock.core.parsing import stream_size


def _stream(table: pa.Table, compression: str | None) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=1_000)
    return sink.getvalue()


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_size_is_that_of_the_decoded_buffers(compression: str | None) -> None:
    """Catches compressed lengths taken for decoded ones, dictionaries not counted, and batches after the first missed."""
    words = pa.array(["x" * 100_000, "y"]).dictionary_encode()
    table = pa.table({"a": ["z" * 1_000] * 3_000, "n": pa.nulls(3_000), "d": words.take(pa.array([0, 1] * 1_500))})
    size = stream_size.measure(_stream(table, compression))
    decoded = sum(buffer.size for column in ("a",) for chunk in table[column].chunks for buffer in chunk.buffers() if buffer)
    assert size.rows == 3_000
    assert decoded + 100_000 <= size.decoded_bytes <= 1.1 * decoded + 200_000


def test_rows_that_hold_nothing_are_counted() -> None:
    """Catches a billion NULLs in 200 bytes."""
    stream = _stream(pa.table({"n": pa.nulls(5_000)}), None)
    assert stream_size.measure(stream).rows == 5_000
