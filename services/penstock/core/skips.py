"""Stretches of one partition that a person has told a lane to leave out: what stands there is lost, and counted so.

They are kept with the committed offset, because deduplication is a function of the readable events of the log and must
leave the same ones out whenever its table is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable

Skips = tuple[tuple[int, int], ...]
"""Half-open [start, end) in offsets, ascending, apart from each other."""

MOST = 64
"""Stretches that fit the offset's metadata."""


def end_of(skipped: Skips, offset: int) -> int | None:
    """Where the stretch ends that holds `offset`; None outside of all."""
    return next((end for start, end in skipped if start <= offset < end), None)


def next_start(skipped: Skips, offset: int) -> int | None:
    """Where the first stretch above `offset` begins."""
    return next((start for start, _ in skipped if start > offset), None)


def merged(stretches: Iterable[tuple[int, int]], *, above: int = 0) -> Skips:
    """The same offsets in the fewest stretches; those that end at or below `above` are left out."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if end <= above:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)
