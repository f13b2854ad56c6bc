"""Open batches by partition: each batch is of one partition, and only of one that has room."""

from __future__ import annotations

import math

from tests.unit.core.batching import making

from penstock.core.batching import builder, model, partitioned


def _builders(full: set[int]) -> partitioned.Builders:
    told = model.WriteModel(budget_seconds=1.0, target_rows=4, cap_rows=8, wanted_concurrency=1, maximum_concurrency=1)
    limits = model.Limits(rows=8, bytes=1 << 20, linger_seconds=5.0, concurrency=1, write_timeout_seconds=30.0)
    return partitioned.Builders(lambda: builder.Builder(told, limits), lambda partition: partition not in full)


def test_a_batch_is_of_one_partition_and_the_oldest_goes_first() -> None:
    """Catches rows of two partitions under one plan, and a partition that starves behind a busy one."""
    open_ = _builders(set())
    open_.add(making.chunk(0, [4], partition=1, born=1.0))
    open_.add(making.chunk(0, [4], partition=0, born=0.5))
    assert open_.rows == 8
    assert open_.due(1.0) is builder.Reason.TARGET_ROWS
    assert {chunk.range.partition for chunk in open_.take(builder.Reason.TARGET_ROWS).chunks} == {0}
    assert open_.due(1.0) is builder.Reason.TARGET_ROWS
    assert {chunk.range.partition for chunk in open_.take(builder.Reason.TARGET_ROWS).chunks} == {1}
    assert open_.due(1.0) == math.inf


def test_a_partition_without_room_waits_and_says_why_it_has_waited() -> None:
    """Catches a plan that is dispatched although it would not fit, and one that never goes."""
    full = {0}
    open_ = _builders(full)
    open_.add(making.chunk(0, [4], partition=0))
    assert open_.due(1.0) == math.inf
    full.clear()
    assert open_.due(1.0) is builder.Reason.PLAN_FULL
    assert open_.take(builder.Reason.PLAN_FULL).rows == 4


def test_draining_takes_partition_after_partition_and_a_revoked_one_not_at_all() -> None:
    """Catches a drain that ends with rows in hand, and rows of a partition that somebody else reads again."""
    open_ = _builders(set())
    for partition in (0, 1, 2):
        open_.add(making.chunk(0, [1], partition=partition, born=float(partition)))
    open_.drop(1)
    taken = []
    while open_.drains() is builder.Reason.DRAIN:
        taken.append(open_.take(builder.Reason.DRAIN).chunks[0].range.partition)
    assert taken == [0, 2]
