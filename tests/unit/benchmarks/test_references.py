"""The plain references of the benchmark give what the product gives, over inputs no benchmark would think of."""

from __future__ import annotations

import datetime
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks import events
from benchmarks.cases import batch_forming, deduplicating, transforming
from benchmarks.references import deduplication, encoding, mapping, parsing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core import blocks, dedup, parse
from penstock.core import schema as schemas
from penstock.core.transform import spec, transform
from penstock.sinks.files import formats

PARSER = parse.EventParser(events.schema(), 65_536)
FEW = settings(max_examples=25)

_words = st.text(max_size=8)
_numbers = st.integers(-(2**31), 2**31 - 1)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_moments = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1), timezones=st.just(datetime.UTC))


def _maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


_items = st.fixed_dictionaries({"sku": _words, "qty": _numbers, "price": _maybe(_floats)})
_right = st.fixed_dictionaries(
    {"id": _words, "user_id": st.integers(-(2**63), 2**63 - 1), "ts": _moments.map(lambda at: at.isoformat()), "type": _words},
    optional={
        "page": _maybe(_words),
        "region": _maybe(_words),
        "meta": _maybe(st.fixed_dictionaries({"agent": _words}, optional={"device-id": _maybe(_words)})),
        "seconds": _maybe(_floats | _numbers),
        "items": _maybe(st.lists(_items, max_size=3)),
    },
)
_FAULTS = [
    lambda event: {**event, "user_id": "someone"},
    lambda event: {**event, "user_id": True},
    lambda event: {**event, "user_id": 2**63},
    lambda event: {**event, "ts": "yesterday"},
    lambda event: {**event, "ts": "2026-01-01T00:00:00"},
    lambda event: {**event, "items": {}},
    lambda event: {**event, "items": [{"sku": "a", "qty": 2**31}]},
    lambda event: {**event, "meta": 1},
    lambda event: {**event, "type": None},
    lambda event: {name: value for name, value in event.items() if name != "id"},
    lambda event: {**event, "seconds": float("nan")},
    lambda event: [event],
]
_wrong = st.builds(lambda event, fault: fault(event), _right, st.sampled_from(_FAULTS))
_documents = st.lists((_right | _right | _wrong).map(lambda event: json.dumps(event).encode()), max_size=12)


@FEW
@given(documents=_documents)
def test_parsing_accepts_and_refuses_the_same_events(documents):
    """Catches a reference that lets something pass, or makes another value of it, and so is fast for the wrong reason."""
    parsed = PARSER.parse(documents)
    batch, refused = parsing.parse(documents, PARSER.batch_schema)
    assert [why.index for why in parsed.rejected] == refused
    assert parsed.batch.to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("fault", range(len(_FAULTS)))
def test_every_fault_is_one_to_both(fault):
    """Catches a check that the reference leaves out, which random documents may take long to meet."""
    event = {"id": "a", "user_id": 1, "ts": "2026-01-01T00:00:00Z", "type": "view"}
    document = json.dumps(_FAULTS[fault](event)).encode()
    assert [why.index for why in PARSER.parse([document]).rejected] == [0]
    assert parsing.parse([document], PARSER.batch_schema)[1] == [0]


_parsed = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", max_size=3),
            "user_id": st.integers(-(2**40), 2**40),
            "ts": _moments,
            "type": st.sampled_from(["view", "purchase", "heartbeat", "Öl", ""]),
            "page": _maybe(st.text("aBÄz/", max_size=6)),
            "region": _maybe(st.text("eu", max_size=2)),
            "device": _maybe(st.text("01", max_size=4)),
            "seconds": _maybe(st.floats(-1e9, 1e9)),
            "items": _maybe(st.lists(_items, max_size=3)),
        }
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def mapped():
    made = transform.Transform(events.transform())
    yield made
    made.close()


@FEW
@given(rows=_parsed)
def test_the_mapping_makes_the_same_rows(rows, mapped):
    """Catches a computed column whose Python twin treats NULL, sign or case otherwise."""
    batch = pa.RecordBatch.from_pylist(rows, schema=schemas.arrow_schema(events.schema()))
    made = mapped.run(transforming.group(batch, mapped.input_columns))
    assert transforming.visible(made) == mapping.transform(rows)


_exploded = st.lists(
    st.fixed_dictionaries(
        {
            "id": _maybe(st.text("abc", max_size=3)),
            "user_id": _maybe(_numbers),
            "ts": _maybe(_moments),
            "type": _maybe(st.text("xy", max_size=2)),
            "items": _maybe(st.lists(st.fixed_dictionaries({"sku": _words, "qty": _numbers, "price": _floats}), max_size=5)),
        }
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("when_empty", list(spec.WhenEmpty))
def test_exploding_makes_the_same_rows(when_empty):
    """Catches an empty or missing array that makes a row on one side only, and an item that is given another's number."""
    exploding = transform.Transform(transforming.explode_spec(when_empty))

    @FEW
    @given(rows=_exploded)
    def compare(rows):
        batch = pa.RecordBatch.from_pylist(rows, schema=schemas.arrow_schema(transforming.EXPLODE_SCHEMA))
        made = exploding.run(transforming.group(batch, exploding.input_columns))
        assert transforming.visible(made) == mapping.explode(rows, keep_empty=when_empty is spec.WhenEmpty.KEEP)

    compare()
    exploding.close()


@FEW
@given(
    judged=st.lists(st.tuples(st.integers(0, 3), st.lists(st.text("ab", max_size=2), max_size=10)), max_size=12),
    window=st.integers(0, 6),
    most=st.integers(1, 20),
)
def test_deduplication_comes_to_the_same_verdicts(judged, window, most):
    """Catches a dictionary that forgets too early or too late at the edge of the window, in time or in events."""
    table = dedup.DedupTable(window_microseconds=window, max_events=most)
    plain = deduplication.PlainTable(window=window, max_events=most)
    now = 0
    for pause, ids in judged:
        now += pause
        hashes = dedup.hash_keys([pa.array(ids, pa.string())])
        assert table.judge(now, hashes).tolist() == plain.judge(now, ids)


def test_the_reference_forgets_what_left_the_window():
    """Catches a reference that grows without bound: its dictionary would be slower than it needs to be."""
    plain = deduplication.PlainTable(window=2, max_events=5)
    for now in range(20):
        plain.judge(now, [str(now), f"{now}'"])
    assert plain.remembered <= 6


@FEW
@given(
    blocks_=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 2), st.lists(st.booleans(), min_size=1, max_size=9)), max_size=20
    ),
    rows=st.integers(1, 12),
    ticks=st.integers(1, 60),
)
@example(blocks_=[(0, 0, [True]), (3, 0, [True])], rows=5, ticks=3)
@example(blocks_=[(0, 0, [True]), (3, 0, [False])], rows=5, ticks=3)
def test_batches_are_cut_at_the_same_events_for_the_same_reasons(blocks_, rows, ticks):
    """Catches a linger counted from another row, a batch cut one row late, a duplicate that is batched."""
    arrivals, now = [], 0
    for offset, (pause, partition, keep) in enumerate(blocks_):
        now += pause
        table = batch_forming.rows_table(offset * 100, len(keep))
        arrivals.append(batch_forming.arrival(now * batch_forming.TICK_SECONDS, partition, offset, table, np.array(keep)))
    linger = ticks * batch_forming.TICK_SECONDS
    formed = batch_forming.form(arrivals, rows=rows, linger=linger)
    plain = batch_forming.form_plainly(arrivals, rows=rows, linger=linger)
    assert [(reason, table.to_pylist()) for reason, table in formed] == plain


@FEW
@given(rows=_parsed)
def test_a_block_and_its_lines_hold_the_same_events(rows):
    """Catches a reference that leaves a column out."""
    full = [{**row, blocks.ORIGINAL: b"{}", blocks.RECEIVED_AT: row["ts"], blocks.TRACE: None} for row in rows]
    batch = pa.RecordBatch.from_pylist(full, schema=blocks.block_schema(events.schema()))
    decoded = blocks.decode(*blocks.encode(batch, "0" * 16)).to_pylist()
    assert encoding.unblock(encoding.block(full)) == [encoding.as_text(row) for row in decoded]


@FEW
@given(rows=_parsed)
def test_both_files_hold_the_same_rows(rows, mapped):
    """Catches a reference that writes another schema."""
    made = mapping.transform(rows)
    table = pa.Table.from_pylist(made, schema=mapped.output_schema)
    mine, plain = formats.encode(table, formats.Format.PARQUET), encoding.parquet(made, mapped.output_schema)
    assert pq.read_table(io.BytesIO(mine)).equals(pq.read_table(io.BytesIO(plain)))


def test_ids_are_text_of_the_number_alone():
    """Catches repeats that are no repeats, which would make the share of duplicates a fiction."""
    ids = deduplicating.id_texts(np.array([7, 8, 7], np.uint64)).to_pylist()
    assert ids[0] == ids[2] != ids[1]
    assert {len(text) for text in ids} == {32}
