"""Which dead letters are meant, and what has become of each.

Nothing is stored about a letter's state: it follows from the letter, the markers beside it, and how far the lane has read
its replay log. Order does not matter, so a state worked out from a log that was read in any direction is the same.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Collection, Sequence
from typing import Protocol

from penstock.core import addresses, deadletters, lineage, markers

MAX_REPLAYS = 3
FINGERPRINT_CHARACTERS = 12


class State(enum.Enum):
    """QUARANTINED letters failed again after every replay they may have; a higher bound makes them outstanding."""

    OUTSTANDING = "Outstanding"
    REPLAYING = "Replaying"
    LANDED = "Landed"
    DISCARDED = "Discarded"
    QUARANTINED = "Quarantined"


WAITING = frozenset({State.OUTSTANDING, State.QUARANTINED})
"""Nothing happens to these by itself."""


def fingerprint_id(fingerprint: str) -> str:
    """The short name of a fingerprint: what people type; 12 hexadecimal digits."""
    return hashlib.blake2b(fingerprint.encode(), digest_size=16).hexdigest()[:FINGERPRINT_CHARACTERS]


class Condition(Protocol):
    """See core.letter_condition."""

    sql: str

    def admits(self, letters: Sequence[deadletters.DeadLetter]) -> list[bool]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is meant; an empty set narrows nothing. Times are microseconds since the epoch, `until` is exclusive.

    `fingerprints` are short names or beginnings of them; `expressions` are places such as `spec.transform.select[3].value`.
    """

    categories: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    expressions: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    since_microseconds: int = 0
    until_microseconds: int | None = None
    where: Condition | None = None

    def admit(self, letters: Sequence[deadletters.DeadLetter]) -> list[bool]:
        """Which of these are meant. Raises ConditionError."""
        plain = [self._admit(letter) for letter in letters]
        if self.where is None or not any(plain):
            return plain
        true = iter(self.where.admits([letter for letter, fits in zip(letters, plain, strict=True) if fits]))
        return [fits and next(true) for fits in plain]

    def _admit(self, letter: deadletters.DeadLetter) -> bool:
        return (
            (not self.categories or letter.category.value in self.categories)
            and (not self.sinks or letter.sink in self.sinks)
            and (not self.expressions or letter.expression in self.expressions)
            and letter.failed_at_microseconds >= self.since_microseconds
            and (self.until_microseconds is None or letter.failed_at_microseconds < self.until_microseconds)
            and (not self.fingerprints or self._has_fingerprint(letter))
        )

    def _has_fingerprint(self, letter: deadletters.DeadLetter) -> bool:
        short = fingerprint_id(letter.fingerprint)
        return any(short.startswith(wanted) for wanted in self.fingerprints)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a lane is in one partition: the first unfinished offset of the main log and of its replay log."""

    events_finished: int = 0
    replays_finished: int = 0
    replays_end: int = 0


@dataclasses.dataclass(slots=True)
class _Fate:
    replayed_attempt: int = -1
    lane: str = ""
    partition: int = markers.NOWHERE
    replay_offset: int = markers.NOWHERE
    discarded_attempt: int = -1


class Marks:
    """All markers of the dead-letter topic, folded by letter. Of `run`, if one is named, each is kept as well."""

    def __init__(self, run: str = "") -> None:
        self._fates: dict[str, _Fate] = {}
        self._highest: dict[tuple[str, int], int] = {}
        self._run = run
        self.of_run: dict[str, tuple[markers.Marker, int]] = {}
        """By letter, the marker of the run's own last attempt, and its partition."""

    def add(self, marker: markers.Marker, partition: int) -> None:
        if self._run and marker.run == self._run:
            known = self.of_run.get(marker.id)
            if known is None or marker.attempt >= known[0].attempt:
                self.of_run[marker.id] = marker, partition
        fate = self._fates.setdefault(marker.id, _Fate())
        if marker.kind is markers.Kind.DISCARDED:
            fate.discarded_attempt = max(fate.discarded_attempt, marker.attempt)
            return
        if marker.attempt >= fate.replayed_attempt:
            fate.replayed_attempt, fate.replay_offset = marker.attempt, marker.replay_offset
            fate.lane, fate.partition = marker.lane, partition
        key = (marker.lane, partition)
        self._highest[key] = max(self._highest.get(key, markers.NOWHERE), marker.replay_offset)

    def lanes(self) -> list[tuple[str, int]]:
        """Lane and partition of everything that was replayed."""
        return list(self._highest)

    def unmarked_from(self, lane: str, partition: int) -> int:
        """The first offset of the lane's replay log that no marker speaks of."""
        return self._highest.get((lane, partition), markers.NOWHERE) + 1

    def ids(self) -> Collection[str]:
        """Of all letters that have a fate."""
        return self._fates.keys()

    def replayed_in(self, id_: str) -> tuple[str, int] | None:
        """The lane whose replay log the letter was last published to, and the partition; None if it never was."""
        fate = self._fates.get(id_)
        return (fate.lane, fate.partition) if fate and fate.lane else None

    def state(self, letter: deadletters.DeadLetter, progress: Progress, max_replays: int = MAX_REPLAYS) -> State:
        """What has become of a letter, which is the newest of its id."""
        fate = self._fates.get(letter.id) or _Fate()
        if letter.attempt <= fate.discarded_attempt:
            return State.DISCARDED
        if letter.attempt <= fate.replayed_attempt:
            return State.LANDED if fate.replay_offset < progress.replays_finished else State.REPLAYING
        return State.QUARANTINED if letter.attempt > max_replays else State.OUTSTANDING


def is_settled(letter: deadletters.DeadLetter, log: lineage.Lineage, progress: Progress) -> bool:
    """Whether the lane is done with the block, or the replay, that the letter came out of.

    Until then a crash makes the lane try the unit again by itself; replayed as well, it could land twice.
    """
    if letter.attempt > 1:
        return progress.replays_finished >= progress.replays_end
    return not log.holds(letter.log_id, letter.partition, letter.offset) or letter.offset < progress.events_finished


def in_address_order(letter: deadletters.DeadLetter, log: lineage.Lineage) -> tuple[int, str, int, addresses.Position]:
    """Sort key: replays go out in the order in which the events came in."""
    items: Sequence[int] = letter.items or (0,)
    return log.age(letter.log_id), letter.log_id, letter.partition, addresses.Position(letter.offset, letter.ordinal, items[0])
