"""Blocks finish when each of their events has an outcome, and their counts reach the ledger exactly once."""

from __future__ import annotations

from penstock.batcher import accounts
from penstock.batcher.reading import prepare
from penstock.core import addresses, ledger


def _verdict(offset: int, *, events: int = 10, duplicates: int = 0, too_large: tuple[int, ...] = (), sequence: int | None = None):
    return prepare.BlockVerdict(
        offset=offset,
        append_time_microseconds=1_000 + offset,
        producer="p",
        sequence=offset if sequence is None else sequence,
        schema_fingerprint="f",
        events=events,
        duplicates=duplicates,
        too_large=too_large,
    )


def _run(events: int, *, rows: int, made: int | None = None, filtered: int = 0, failed: int = 0, without_rows: int = 0):
    return prepare.RunCounts(
        events=events,
        without_rows=without_rows,
        made=rows + filtered + failed if made is None else made,
        filtered=filtered,
        other_lanes=0,
        rows=rows,
        failed=failed,
    )


def _partition(offset: int = 0) -> accounts.PartitionAccounts:
    return accounts.PartitionAccounts(offset, ledger.LaneMetadata(start_offset=offset))


def test_an_offset_moves_only_when_every_row_and_letter_of_the_block_is_settled():
    """Catches commit before ack: an offset past rows that are still on their way."""
    part = _partition()
    part.started(_verdict(0, events=3, duplicates=1), lost=0)
    assert (part.position, part.events_untransformed) == (0, 2)
    part.transformed({0: _run(2, rows=4, filtered=1, failed=1)})
    part.written({0: 4})
    assert part.position == 0
    part.rows_dead_lettered(0, 1, refused_by_store=False)
    assert part.position == 1
    assert part.settled.unexplained() == 0
    assert (part.settled.read, part.settled.written, part.settled.dead_lettered_rows) == (3, 4, 1)


def test_blocks_that_finish_out_of_order_wait_for_the_lowest():
    """Catches a watermark that takes the highest finished block."""
    part = _partition()
    for offset in range(3):
        part.started(_verdict(offset, events=1), lost=0)
        part.transformed({offset: _run(1, rows=1)})
    part.written({2: 1})
    part.written({1: 1})
    assert part.position == 0
    assert part.settled.read == 0
    part.written({0: 1})
    assert part.position == 3
    assert part.settled.written == 3


def test_a_block_without_rows_finishes_without_a_write():
    """Catches a lane that waits for ever for a block of duplicates and filtered events."""
    part = _partition()
    part.started(_verdict(0, events=2, duplicates=2), lost=0)
    part.started(_verdict(1, events=2), lost=0)
    part.transformed({1: _run(2, rows=0, filtered=2, without_rows=2)})
    assert part.position == 2
    assert part.settled.unexplained() == 0


def test_rows_that_the_engine_swallows_show_in_the_ledger():
    """The mutant that skips rows silently: made says 3, only 2 came out, and nothing accounts for the third."""
    part = _partition()
    part.started(_verdict(0, events=3), lost=0)
    part.transformed({0: _run(3, rows=2, made=3)})
    part.written({0: 2})
    assert part.settled.unexplained() == 1


def test_an_unfinished_block_is_no_re_send_after_a_crash():
    """Catches producers committed as of the last read block: after kill -9 the unfinished ones would be skipped as re-sent."""
    part = _partition()
    for offset in range(3):
        assert not part.is_resent("p", offset)
        part.missing_before("p", offset)
        part.started(_verdict(offset, events=1), lost=0)
        part.transformed({offset: _run(1, rows=1)})
    part.written({0: 1})
    again = accounts.PartitionAccounts(part.position, ledger.from_metadata(ledger.to_metadata(part.metadata())))
    assert [again.is_resent("p", sequence) for sequence in range(3)] == [True, False, False]


def test_a_re_sent_block_finishes_at_once_and_counts_nowhere_else():
    part = _partition()
    part.missing_before("p", 0)
    part.started(_verdict(0, events=1, duplicates=1), lost=0)
    assert part.is_resent("p", 0)
    part.resent(1)
    assert part.position == 2
    assert (part.settled.resent_blocks, part.settled.read) == (1, 1)


def test_a_gap_in_a_producers_blocks_is_lost():
    """Catches a gap that nobody reports: acknowledged blocks that are not in the log."""
    part = _partition()
    assert part.missing_before("p", 5) == 0
    assert part.missing_before("p", 8) == 2
    part.started(_verdict(0, events=1, duplicates=1, sequence=8), lost=2)
    assert part.settled.lost == 2


def test_events_refused_as_a_whole_wait_for_their_letters():
    part = _partition()
    part.started(_verdict(0, events=2, too_large=(1,)), lost=0)
    part.transformed({0: _run(1, rows=0, filtered=1, without_rows=1)})
    assert part.position == 0
    part.events_dead_lettered(0, 1)
    assert part.position == 1
    assert part.settled.unexplained() == 0


def test_the_lane_adds_its_partitions_and_knows_what_it_counted_itself():
    lane = accounts.LaneAccounts("log")
    before = ledger.LaneMetadata(counts=ledger.Counts(read=5, duplicates=5))
    lane.open(0, accounts.PartitionAccounts(4, before), set())
    lane.open(1, _partition(7), {addresses.Position(7, 0, 0)})
    lane[1].started(_verdict(7, events=2), lost=0)
    assert lane.totals().read == 7
    assert lane.own.read == 2
    assert lane.events_in_flight == 2
    assert {mark.partition: mark.position.offset for mark in lane.finished_below()} == {0: 4, 1: 7}
    assert lane.known_letters(1)
    lane.close(1)
    assert (lane.totals().read, lane.own.read) == (5, 0)
    lane.written(1, {7: 1})
