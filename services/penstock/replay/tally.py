"""How many dead letters wait, were put back, were given up or have expired: what is left of a partition once it was read.

Pure, and folded forward: letters and markers in, in the order in which they stand. What waits is the letters less the markers,
each attempt for itself, so neither needs to be remembered. Two things are: letters that a crash may write once more (those of
blocks and replays that their lane has not finished), by a hash each; and how many letters of each stretch of time wait, so that
those that are trimmed with it are known to have expired. Nothing grows with the letters.
"""

from __future__ import annotations

import bisect
import collections
import hashlib
from collections.abc import Mapping

import msgspec

from penstock.core import deadletters, markers, selection

MAX_UNSETTLED = 100_000
"""Letters a crash may repeat; beyond it the oldest are forgotten, and would count twice if one came right then."""


class Bucket(msgspec.Struct, kw_only=True):
    """The stretch of letters from offset `first` to the next bucket: how many of them wait, by lane and category."""

    first: int
    span: int
    waiting: dict[str, dict[str, int]]

    def add(self, lane: str, category: str, letters: int) -> None:
        of_lane = self.waiting.setdefault(lane, {})
        of_lane[category] = of_lane.get(category, 0) + letters


class Done(msgspec.Struct, kw_only=True):
    """Letters of a lane that no longer wait, by why."""

    replayed: int = 0
    discarded: int = 0
    expired: int = 0


class Unsettled(msgspec.Struct, array_like=True, frozen=True):
    """A letter that may be written again until its lane has finished `below`, in its replay log if `replay`."""

    offset: int
    lane: str
    category: str
    below: int
    replay: bool

    def is_open(self, lane: selection.Progress) -> bool:
        return (lane.replays_finished if self.replay else lane.events_finished) < self.below


class Tally(msgspec.Struct, kw_only=True):
    """One partition of the dead-letter topic, read from `began` up to `offset`. Lanes go by the name they have now."""

    began: int
    offset: int
    lanes: dict[str, Done] = {}
    buckets: list[Bucket] = []
    unsettled: dict[str, Unsettled] = {}

    def letter(self, offset: int, letter: deadletters.DeadLetter, unsettled: Unsettled, span: int) -> None:
        """A letter stands at `offset`; `span` is the number of the stretch of time it was appended in."""
        if not self.buckets or self.buckets[-1].span != span:
            self.buckets.append(Bucket(first=offset, span=span, waiting={}))
        key = _key(letter.id, letter.attempt)
        before = self.unsettled.pop(key, None)
        if before:
            self._wait(before.offset, before.lane, before.category, -1)
        elif letter.attempt > (2 if letter.elsewhere else 1) and not letter.split_from:
            # It was put back and counted as such; in a topic of others nobody counts.
            self._done(letter.lane).replayed -= 1
        self._wait(offset, letter.lane, letter.category.value, 1)
        self.unsettled[key] = unsettled
        while len(self.unsettled) > MAX_UNSETTLED:
            self.unsettled.pop(next(iter(self.unsettled)))

    def marker(self, marker: markers.Marker, category: str, letter_offset: int) -> None:
        """A marker for the letter that stands at `letter_offset`."""
        if letter_offset < self.began:
            return
        self._wait(letter_offset, marker.lane, category, -1)
        done = self._done(marker.lane)
        if marker.kind is markers.Kind.REPLAYED:
            done.replayed += 1
        else:
            done.discarded += 1

    def _wait(self, offset: int, lane: str, category: str, letters: int) -> None:
        place = bisect.bisect_right(self.buckets, offset, key=lambda bucket: bucket.first) - 1
        if place < 0:
            self._done(lane).expired += letters
        else:
            self.buckets[place].add(lane, category, letters)

    def _done(self, lane: str) -> Done:
        return self.lanes.setdefault(lane, Done())

    def trimmed(self, start: int) -> None:
        """The partition begins at `start` now. A bucket expires when all of it is gone."""
        ends = [bucket.first for bucket in self.buckets[1:]] + [self.offset]
        gone = sum(end <= start for end in ends)
        for bucket in self.buckets[:gone]:
            for lane, categories in bucket.waiting.items():
                self._done(lane).expired += sum(categories.values())
        del self.buckets[:gone]
        if gone:
            self.unsettled = {key: one for key, one in self.unsettled.items() if one.offset >= start}
        self.offset = max(self.offset, start)

    def settle(self, lanes: Mapping[str, selection.Progress]) -> None:
        """The lanes were so far when, or before, the topic ended at `offset`. Others write nothing."""
        self.unsettled = {key: one for key, one in self.unsettled.items() if one.lane in lanes and one.is_open(lanes[one.lane])}

    def rename(self, was: str, now: str) -> None:
        """What was counted for one lane is another's from here on."""
        if done := self.lanes.pop(was, None):
            mine = self._done(now)
            mine.replayed, mine.discarded = mine.replayed + done.replayed, mine.discarded + done.discarded
            mine.expired += done.expired
        for bucket in self.buckets:
            for category, letters in bucket.waiting.pop(was, {}).items():
                bucket.add(now, category, letters)
        # Nobody writes as the old lane any more.
        self.unsettled = {key: one for key, one in self.unsettled.items() if one.lane != was}

    def edge(self, offset: int) -> int:
        """The highest offset up to this one below which letters may be trimmed and still be counted as expired."""
        edges = [self.began, *(bucket.first for bucket in self.buckets)]
        return max((edge for edge in edges if edge <= offset), default=0) if offset < self.offset else self.offset

    def waiting(self, lane: str) -> collections.Counter[str]:
        """Letters that wait, by category."""
        found: collections.Counter[str] = collections.Counter()
        for bucket in self.buckets:
            found.update(bucket.waiting.get(lane, {}))
        return found


def _key(id_: str, attempt: int) -> str:
    return hashlib.blake2b(f"{id_} {attempt}".encode(errors="replace"), digest_size=8).hexdigest()
