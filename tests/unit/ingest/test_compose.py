"""Requests into blocks and answers."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import ipc

from penstock.core import blocks
from penstock.core import schema as schemas
from penstock.ingest import compose
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions

_Encoding = submissions.Encoding
_SCHEMA = schemas.Schema(
    fields=(
        schemas.Field(name="id", type=schemas.FieldType.STRING, required=True),
        schemas.Field(name="n", type=schemas.FieldType.INT64),
    )
)
_TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


def _composer(partitions: int = 1, **settings: object) -> compose.Composer:
    told = {"namespace": "web", "pipeline": "clicks", "schema": _SCHEMA} | settings
    return compose.Composer(ingest_settings.IngestSettings(**told), partitions)  # type: ignore[arg-type]


def _request(
    encoding: submissions.Encoding, payload: submissions.Payload, at: int = 0, trace: str = ""
) -> submissions.Submission:
    return submissions.Submission(encoding=encoding, payload=payload, door="test", received_at_microseconds=at, traceparent=trace)


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _rows(block: compose.Block) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = blocks.decode(block.value, block.headers).to_pylist()
    return rows


def test_requests_of_every_kind_share_a_block_in_order_and_keep_their_own_answers() -> None:
    """Catches an answer given to a neighbour, an index of the merged block, and events out of order."""
    group = [
        _request(_Encoding.NDJSON, b'{"id":"a"}\n\nnope\n', at=1),
        _request(_Encoding.ARROW, _arrow(pa.table({"id": ["b", None]})), at=2, trace=_TRACE),
        _request(_Encoding.JSON_ARRAY, b"{}", at=3),
        _request(_Encoding.DOCUMENTS, [b'{"id":1}', b'{"id":"c"}'], at=4),
        _request(_Encoding.JSON_ARRAY, b'[{"id":"d"},{"id', at=5),
        _request(_Encoding.ARROW, b"junk", at=6),
    ]
    composed = _composer().compose(group)
    assert [answer.accepted for answer in composed.answers] == [1, 1, 0, 1, 1, 0]
    assert [[why.index for why in answer.rejected] for answer in composed.answers] == [[2], [1], [], [0], [1], []]
    assert [bool(answer.unreadable) for answer in composed.answers] == [False, False, True, False, False, True]
    (block,) = composed.blocks
    assert [row["id"] for row in _rows(block)] == ["a", "b", "c", "d"]
    assert block.requests == (0, 1, 3, 4)
    assert [row[blocks.RECEIVED_AT].microsecond for row in _rows(block)] == [1, 2, 4, 5]  # type: ignore[attr-defined]
    assert [row[blocks.TRACE] for row in _rows(block)] == [None, _TRACE, None, None]
    assert [row[blocks.ORIGINAL] for row in _rows(block)] == [b'{"id":"a"}', None, b'{"id":"c"}', b'{"id":"d"}']


def test_equal_keys_share_a_partition_whatever_request_they_came_in() -> None:
    """Catches a hash that depends on the block: deduplication sees one partition only."""
    composer = _composer(partitions=4, deduplicate_key=("id",))
    seen: dict[object, set[int | None]] = {}
    for start in (0, 50):
        documents = [b'{"id":"%d","n":%d}' % (number % 40, number) for number in range(start, start + 100)]
        composed = composer.compose([_request(_Encoding.DOCUMENTS, documents)])
        for block in composed.blocks:
            numbers = [row["n"] for row in _rows(block)]
            assert numbers == sorted(numbers)  # type: ignore[type-var]
            for row in _rows(block):
                seen.setdefault(row["id"], set()).add(block.partition)
        assert sum(block.rows for block in composed.blocks) == 100
    assert all(len(partitions) == 1 for partitions in seen.values())
    assert len(set().union(*seen.values())) == 4


@pytest.mark.parametrize(
    ("limits", "wanted"), [({"block_rows": 4}, [4, 4, 2]), ({"block_bytes": 30}, [3, 3, 3, 1]), ({"block_bytes": 1}, [1] * 10)]
)
def test_a_large_request_becomes_several_blocks(limits: dict[str, int], wanted: list[int]) -> None:
    """Catches a record that grows with the request, and an event over the bound that is never written."""
    documents = [b'{"id":"%d"}' % number for number in range(10)]
    composed = _composer(**limits).compose([_request(_Encoding.DOCUMENTS, documents)])
    assert [block.rows for block in composed.blocks] == wanted
    assert [row["id"] for block in composed.blocks for row in _rows(block)] == [str(number) for number in range(10)]


def test_the_whole_event_schema_is_told_when_the_event_came() -> None:
    """Catches a `received_at` that stays NULL."""
    fields = (
        schemas.Field(name="event", type=schemas.FieldType.JSON),
        schemas.Field(name="received_at", type=schemas.FieldType.TIMESTAMP),
    )
    composer = _composer(schema=schemas.Schema(fields=fields, whole_event=True))
    (block,) = composer.compose([_request(_Encoding.SINGLE, b'{"x":1}', at=7)]).blocks
    (row,) = _rows(block)
    assert (row["event"], row["received_at"].microsecond) == ('{"x":1}', 7)  # type: ignore[attr-defined]


def test_nothing_accepted_makes_no_block() -> None:
    """Catches empty records in the log."""
    composed = _composer().compose([_request(_Encoding.NDJSON, b""), _request(_Encoding.SINGLE, b"nope")])
    assert composed.blocks == ()
    assert [len(answer.rejected) for answer in composed.answers] == [0, 1]
