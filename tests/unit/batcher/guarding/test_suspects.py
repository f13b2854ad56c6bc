"""When the crash-loop guard is careful, and what it commits."""

from __future__ import annotations

import pytest

from penstock.batcher.guarding import suspects
from penstock.core import ledger
from penstock.log import port


def _guard(starts: int, suspect: int | None = None, *, offset: int = 10, log_end: int = 20) -> suspects.Guard:
    return suspects.Guard(offset, ledger.LaneMetadata(starts=starts, suspect=suspect), log_end)


def _record(offset: int) -> port.Record:
    return port.Record(
        topic=port.EVENTS, partition=0, offset=offset, append_time_microseconds=0, value=b"", headers={}, producer="", sequence=0
    )


def test_a_start_is_counted_with_the_first_block_and_forgotten_with_progress() -> None:
    """Catches a count that quiet starts drive up, and one that outlives the trouble."""
    guard = _guard(1)
    assert guard.marks(10) == (1, None)
    assert guard.begin()
    assert not guard.begin()
    assert guard.marks(10) == (2, None)
    assert guard.marks(11) == (0, None)


@pytest.mark.parametrize(("starts", "careful"), [(0, False), (1, False), (2, True), (7, True)])
def test_after_two_starts_blocks_go_alone_up_to_the_end_of_the_log_then(starts: int, careful: bool) -> None:
    """Catches a guard that slows every start, and one that looks at the first block only."""
    guard = _guard(starts)
    sizes = [len(stretch) for stretch in guard.stretches([_record(offset) for offset in range(17, 23)])]
    assert sizes == ([1, 1, 1, 3] if careful else [6])


def test_progress_inside_the_suspect_stretch_keeps_the_count() -> None:
    """Catches a guard that begins again with each block that lands before the guilty one."""
    guard = _guard(2)
    guard.begin()
    guard.name(13)
    assert guard.marks(12) == (3, 13)
    assert guard.marks(20) == (0, None)


def test_only_the_named_block_is_accused_and_only_after_three_starts() -> None:
    """Catches a trial of whatever comes first, and one after two deaths."""
    assert not _guard(2, 13).is_accused(13)
    assert _guard(3, 13).is_accused(13)
    assert not _guard(3, 13).is_accused(10)
    assert not _guard(3).is_accused(10)


def test_a_stop_in_good_order_clears_everybody() -> None:
    """Catches three Ctrl-C in a row, with the store away, that look like three crashes."""
    guard = _guard(3, 13)
    guard.begin()
    guard.name(13)
    guard.stop()
    assert guard.marks(10) == (0, None)
