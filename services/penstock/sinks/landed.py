"""Which ranges have landed in which table of which lane, in the fewest ranges.

The stores that remember ranges themselves (DuckDB in a table, Files in a journal) share this arithmetic. Below a watermark
nothing is told apart any more: all of it is finished, so it is one range from the beginning of the partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.core import addresses, delivery

_BEGINNING = addresses.Position(0)


def fold(
    landed: Iterable[addresses.Range],
    ranges: Iterable[addresses.Range],
    finished_below: Iterable[delivery.Watermark],
) -> list[addresses.Range]:
    """What has landed once `ranges` have, sorted and merged."""
    below = (
        addresses.Range(mark.log_id, mark.partition, _BEGINNING, mark.position)
        for mark in finished_below
        if mark.position > _BEGINNING
    )
    return addresses.merge([*landed, *ranges, *below])


class Landed:
    """The landed ranges of every table of every lane, as the store's journal tells them."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[str, str], list[addresses.Range]] = {}

    def of(self, lane: str, table: str) -> Sequence[addresses.Range]:
        return self._ranges.get((lane, table), [])

    def after(self, batch: delivery.SinkBatch) -> list[addresses.Range]:
        """What will have landed in the batch's table once the batch has."""
        return fold(self.of(batch.lane, batch.table), batch.ranges, batch.finished_below)

    def replace(self, lane: str, table: str, ranges: Sequence[addresses.Range]) -> None:
        self._ranges[lane, table] = list(ranges)

    def tables(self) -> Iterable[tuple[str, str]]:
        """(lane, table) of everything known."""
        return self._ranges.keys()
