"""How long events stay that everybody has read."""

from __future__ import annotations

import dataclasses
import time

import pytest

from penstock.log import port
from penstock.machine import retention

_HOUR = 3_600.0


@pytest.mark.parametrize(("size", "seconds"), [(0, 7200.0), (80, 7200.0), (81, 0.0), (200, 0.0)])
def test_what_is_read_gives_way_before_the_log_is_full(size: int, seconds: float) -> None:
    """Catches doors that refuse events for two days because of events that all lanes have landed."""
    assert retention.keep_seconds(2, size, 100) == seconds


@dataclasses.dataclass
class Log:
    """One partition with a record for each hour that it lies back; `trimmed` is what was deleted."""

    hours: list[float]
    finished: int
    damaged: int | None = None
    partitions: int = 1
    trimmed: int = 0

    async def committed(self, topic: str, group: str) -> dict[int, port.Commit]:
        return {0: port.Commit(offset=self.finished)}

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return port.Bounds(start=0, end=len(self.hours))

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> list[port.Record]:
        there = [offset for offset in range(min(before, len(self.hours))) if offset != self.damaged]
        return [self._record(offset) for offset in reversed(there[-limit:])]

    def _record(self, offset: int) -> port.Record:
        appended = int((time.time() - self.hours[offset] * _HOUR) * 1e6)
        named = {"topic": port.EVENTS, "partition": 0, "value": b"", "headers": {}, "producer": "p", "sequence": offset}
        return port.Record(offset=offset, append_time_microseconds=appended, **named)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        self.trimmed = before


@pytest.mark.parametrize(
    ("finished", "damaged", "trimmed"), [(5, None, 4), (3, None, 2), (3, 3, 1)], ids=["all read", "some unread", "stuck"]
)
async def test_what_an_unread_event_may_repeat_stays(finished: int, damaged: int | None, trimmed: int) -> None:
    """Two hours of deduplication over events of 9, 6.5, 5, 4 and 0.5 hours ago.

    Catches a lane that is stuck at a damaged record and finds, once it goes on, that what its next events repeat is gone.
    """
    log = Log([9.0, 6.5, 5.0, 4.0, 0.5], finished, damaged)
    assert await retention.trim(log, ["lane"], keep_seconds=0.0, window_seconds=2 * _HOUR) == log.trimmed
    assert log.trimmed == trimmed


@pytest.mark.parametrize(("damaged", "trimmed"), [(None, 3), (2, 2), (1, 3), (0, 3)], ids=str)
async def test_a_record_that_can_not_be_read_stays_until_one_behind_it_has_expired(damaged: int | None, trimmed: int) -> None:
    """Letters of 9, 8, 7 and half an hour ago, kept for six hours.

    Catches what somebody wrote a moment ago, and nobody has looked at, going with the letter before it; and a partition that is
    never trimmed again.
    """
    log = Log([9.0, 8.0, 7.0, 0.5], 0, damaged)
    assert await retention.trim_letters(log, keep_seconds=6 * _HOUR) == log.trimmed
    assert log.trimmed == trimmed
