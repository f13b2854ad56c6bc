"""Tickets: what a batch is made of while it is on its way, whatever happens to the book meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.unit.core.batching import making

from penstock.api import load
from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.writing import planning
from penstock.core import addresses, ledger
from penstock.core.batching import builder, chunks
from penstock.machine import lanes

Position = addresses.Position

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec:
  schema: {fields: [{name: id, type: String}]}
  sinks: [{name: warehouse, type: ClickHouse, clickHouse: {url: "http://c:8123", database: d, table: t}}]
"""


def _settings() -> lane_settings.LaneSettings:
    pipeline = load.load_one(PIPELINE)
    return dataclasses.replace(lanes.lane_for(pipeline, pipeline.spec.sinks[0]), rows_revision="a")


def _planner(text: str = "") -> tuple[planning.Planner, accounts.LaneAccounts, list[str]]:
    """A planner over partition 0 with these plans, and what it has committed."""
    books, committed = accounts.LaneAccounts("log"), list[str]()
    books.open(0, accounts.PartitionAccounts(0, ledger.LaneMetadata(plans=text)), set())

    async def commit() -> None:
        committed.extend(metadata.plans for _, metadata in books.commits().values())

    return planning.Planner(_settings(), books, commit, committed.append), books, committed


def _batch(*parts: chunks.Chunk) -> builder.Batch:
    rows = sum(part.rows.num_rows for part in parts)
    return builder.Batch(chunks=parts, reason=builder.Reason.CLOSE_LINE, rows=rows, bytes=0, born=0.0)


async def test_a_ticket_is_ready_when_its_plan_is_committed_and_a_cut_likewise() -> None:
    """Catches a write that leaves first."""
    planner, _, committed = _planner()
    ticket = planner.begin(_batch(making.chunk(0, [2, 2])))
    assert not committed
    await ticket.ready()
    await ticket.cut("t", Position(0, 1))
    assert committed == ["0-1@a", "0-1@a/0:,0.1"]


async def test_a_settled_plan_is_met_again_after_its_neighbour_has_made_it_part_of_itself() -> None:
    """Catches a batch that is no longer in the book when its turn comes."""
    planner, books, _ = _planner("0-1@a;1-1!")
    for offset in (0, 1):
        assert planner.route(making.chunk(offset, [1])) is None
    first, second = planner.next(), planner.next()
    one, two = planner.begin(first.batch, first.plan), planner.begin(second.batch, second.plan)
    one.settled()
    assert len(books[0].plans.plans) == 1
    assert [settled for _, settled in two.pieces("t")] == [True]
    two.settled()
    two.passed("t", Position(2))


async def test_one_batch_of_a_partition_is_cut_at_a_time() -> None:
    """Catches plans that outgrow the metadata because everything is halved at once, and a turn that is never given back."""
    planner, _, _ = _planner()
    one, two = (planner.begin(_batch(making.chunk(offset, [2]))) for offset in (0, 1))
    await one.cut("t", Position(0, 0, 1))
    waiting = asyncio.ensure_future(two.cut("t", Position(1, 0, 1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    one.close()
    await waiting


async def test_a_partition_that_is_lost_while_its_plan_is_committed_takes_its_batch_along() -> None:
    """Catches a write that leaves although somebody else has its plan by now."""
    planner, books, _ = _planner()
    ticket = planner.begin(_batch(making.chunk(0, [1])))
    books.close(0)
    with pytest.raises(planning.LostPartitionError):
        await ticket.ready()


@pytest.mark.parametrize(("text", "told"), [("0-1@b", True), ("0-1@b!", False), ("", False)])
async def test_what_another_revision_has_planned_is_said(text: str, told: bool) -> None:
    """Catches rows that may land twice and nobody is told, and an alarm about what has landed."""
    planner, _, said = _planner(text)
    rest = planner.route(making.chunk(0, [1]))
    assert bool(said) is told
    assert (rest is not None) is (text != "0-1@b!")


async def test_blocks_that_finish_without_rows_complete_what_was_planned_of_them() -> None:
    """Catches a plan that waits for ever for blocks that a person has skipped."""
    planner, books, _ = _planner("0-5@a")
    planner.finish()
    assert books[0].plans.text()
    books[0].skip(5)
    planner.finish()
    assert not planner.waiting
    books[0].metadata()
    assert books[0].plans.text() == ""
