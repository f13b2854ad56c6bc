"""When the open batch goes, and what is in it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.batching import making

from penstock.core.batching import builder, model

MODEL = model.WriteModel(budget_seconds=0.5, target_rows=10, cap_rows=25, wanted_concurrency=1, maximum_concurrency=1)
LIMITS = model.Limits(rows=20, bytes=1 << 20, linger_seconds=5.0, concurrency=4, write_timeout_seconds=30.0)


def _builder(*row_counts: int, told: model.WriteModel = MODEL, limits: model.Limits = LIMITS, **named: bool) -> builder.Builder:
    made = builder.Builder(told, limits, **named)
    for offset, rows in enumerate(row_counts):
        made.add(making.chunk(offset, [1] * rows, born=float(offset)))
    return made


def test_an_empty_batch_is_never_due():
    assert _builder().due(1e9) == math.inf


@pytest.mark.parametrize(
    ("rows", "now", "due"),
    [
        ([3], 0.1, 0.5),
        ([3], 0.5, builder.Reason.CLOSE_LINE),
        ([10], 0.0, builder.Reason.TARGET_ROWS),
        ([10, 11], 0.0, builder.Reason.CAP_ROWS),
        ([3], 6.0, builder.Reason.CAP_LINGER),
    ],
)
def test_each_reason_has_its_moment(rows, now, due):
    """Catches a reason that is counted as another: the flush counters are what a user tunes by."""
    assert _builder(*rows).due(now) == due


def test_bytes_close_a_batch_too():
    assert _builder(3, limits=dataclasses.replace(LIMITS, bytes=10)).due(0.0) == builder.Reason.CAP_BYTES


def test_idle_counts_only_for_those_who_prefer_latency():
    """Catches `idle` under FewerBatches: every quiet moment would send a tiny batch."""
    assert _builder(1).due(0.0, nothing_unread=True) == 0.5
    assert _builder(1, send_when_idle=True).due(0.0, nothing_unread=True) == builder.Reason.IDLE
    assert _builder(1, send_when_idle=True).due(0.0, nothing_unread=False) == 0.5


def test_a_batch_that_waits_for_a_slot_goes_on_growing_to_the_cap_and_no_further():
    """Catches early binding: a batch frozen when it was due would leave at its target although more is waiting."""
    made = _builder(10, 5, 10)
    batch = made.take(builder.Reason.TARGET_ROWS)
    assert (batch.rows, made.rows) == (20, 5)
    assert made.take(builder.Reason.DRAIN).rows == 5
    assert made.rows == made.bytes == 0


def test_the_age_that_counts_is_the_oldest_rows():
    """Catches an age taken from the newest chunk: a trickle would never go."""
    made = _builder(1, 1)
    assert made.due(0.5) == builder.Reason.CLOSE_LINE


def test_dither_shortens_every_eighth_line():
    """Catches equal batch sizes for ever: the slope of the write model would be unobservable."""
    made = builder.Builder(dataclasses.replace(MODEL, dither=True), LIMITS)
    lines = []
    for offset in range(8):
        made.add(making.chunk(offset, [1], born=0.0))
        lines.append(made.due(0.0))
        made.take(builder.Reason.CLOSE_LINE)
    assert lines == [0.5] * 7 + [0.3]


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), min_size=1, max_size=8), st.integers(1, 40))
def test_batches_hold_all_rows_once_in_order_and_their_ranges_tile_the_log(events_by_block, cap):
    """Catches rows lost or doubled between batches, and ranges that overlap or leave a hole."""
    told = dataclasses.replace(MODEL, target_rows=1, cap_rows=cap)
    made = builder.Builder(told, dataclasses.replace(LIMITS, rows=cap))
    for offset, events in enumerate(events_by_block):
        made.add(making.chunk(offset, events))
    batches = []
    while made.rows:
        batches.append(made.take(builder.Reason.DRAIN))
    values = [value for batch in batches for part in batch.chunks for value in part.rows["value"].to_pylist()]
    expected = [f"0/{o}/{e}" for o, events in enumerate(events_by_block) for e, rows in enumerate(events) for _ in range(rows)]
    assert values == expected
    ranges = [stretch for batch in batches for stretch in batch.ranges]
    assert all(left.end == right.start for left, right in itertools.pairwise(ranges))
    for batch in batches:
        assert 0 < batch.rows <= cap


def test_a_revoked_partition_is_forgotten_and_the_others_stay():
    made = _builder(2)
    made.add(making.chunk(0, [1, 1, 1], partition=1))
    made.drop(0)
    assert made.rows == 3
    assert {part.range.partition for part in made.take(builder.Reason.REVOKE).chunks} == {1}


def test_a_batch_holds_no_more_bytes_than_allowed_though_its_rows_would_fit():
    """Catches a short way that takes everything by its rows alone."""
    first, second = making.chunk(0, [1, 1]), making.chunk(1, [1, 1])
    made = builder.Builder(MODEL, dataclasses.replace(LIMITS, bytes=first.bytes + second.bytes // 2))
    made.add(first)
    made.add(second)
    batch = made.take(builder.Reason.CAP_BYTES)
    assert batch.bytes <= first.bytes + second.bytes // 2
    assert (batch.rows, made.rows) == (3, 1)


def test_other_bounds_hold_for_the_batch_that_is_open() -> None:
    """Catches an edit of the limits that waits for the next batch, and rows that it loses."""
    made = _builder(9)
    assert isinstance(made.due(0.0), float)
    made.follow(dataclasses.replace(LIMITS, rows=9), send_when_idle=False)
    assert made.due(0.0) == builder.Reason.CAP_ROWS
    made.follow(LIMITS, send_when_idle=True)
    assert made.due(0.0, nothing_unread=True) == builder.Reason.IDLE
    assert made.rows == 9
