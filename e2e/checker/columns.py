"""The same verdict for hundreds of thousands of events: a number stands for each of them, and its places are bits.

Pure. `verdict` says what the classes mean; this finds them with arrays instead of sets. What an event should make is given as
bits too, so nothing here knows any pipeline. Each class has a mutant history in tests/unit/e2e that only it catches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy import typing as npt

from e2e.checker import found, verdict

Numbers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

PLACES = 8
WHOLE = 0xFF
"""The bits of a letter that holds a whole event."""
SENT, UNKNOWN, OK = 1, 2, 4
"""What is known of an event: it was tried, an answer never came, it was acknowledged. Sent alone means refused."""
_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What each event makes in one sink, by its number: bits of the places with a row, and of those with a letter."""

    rows: Bits
    letters: Bits


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a store, one entry each. `good`: content as sent."""

    number: Numbers
    place: Numbers
    good: Flags


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """The letters of one sink, one entry each; `letter` is the letter's own id, `good` whether its bytes are those sent."""

    letter: Sequence[str]
    number: Numbers
    bits: Bits
    good: Flags


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look during the run: numbers below committed offsets, and what was found for each a moment later, as bits."""

    sink: str
    committed: Numbers
    present: Bits


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """All that is known of one sink. `ledger` is of all of the lane's processes together."""

    expected: Expected
    rows: Rows
    letters: Letters
    exactly_once: bool = True
    ledger: found.Ledger | None = None


def judge(state: Bits, lanes: Mapping[str, Lane], samples: Iterable[Sample] = ()) -> verdict.Verdict:
    """Judge what was found after quiescence. `state` by number, of SENT, UNKNOWN and OK."""
    told = verdict.Verdict(acknowledged=int(np.count_nonzero(state & OK)))
    bits = {name: _Look(name, state, lane, told) for name, lane in lanes.items()}
    present = np.zeros(len(state), np.bool_)
    for look in bits.values():
        present |= (look.rows | look.letters) > 0
    told.recovered = int(np.count_nonzero(present & (state & OK == 0) & (state & UNKNOWN > 0)))
    taken = (state & OK > 0) | ((state & UNKNOWN > 0) & present)
    for look in bits.values():
        look.judge_completeness(taken)
    for sample in samples:
        wanted = lanes[sample.sink].expected
        missing = (wanted.rows | wanted.letters)[sample.committed] & ~sample.present
        _note(told, "commit_ahead", sample.sink, sample.committed[missing > 0])
    return told


def bits_of(numbers: Numbers, places: Numbers, count: int) -> Bits:
    """The places that occur, as bits by number; numbers and places out of range are left out."""
    bits = np.zeros(count, np.uint8)
    inside = (numbers >= 0) & (numbers < count)
    for place in range(PLACES):
        bits[numbers[inside & (places == place)]] |= 1 << place
    return bits


def letter_bits(letters: Letters, count: int) -> Bits:
    """The places that have letters, as bits by number."""
    bits = np.zeros(count, np.uint8)
    inside = (letters.number >= 0) & (letters.number < count)
    np.bitwise_or.at(bits, letters.number[inside], letters.bits[inside])
    return bits


class _Look:
    """One sink's rows and letters against what its events should make."""

    def __init__(self, name: str, state: Bits, lane: Lane, told: verdict.Verdict) -> None:
        self._name, self._state, self._lane, self._told = name, state, lane, told
        self.rows = self._take_rows()
        self.letters = self._take_letters()

    def _take_rows(self) -> Bits:
        rows, count = self._lane.rows, len(self._state)
        known = _known(rows.number, self._state)
        fits = known & (rows.place >= 0) & (rows.place < PLACES)
        bits = bits_of(np.where(fits, rows.number, -1), rows.place, count)
        _, times = np.unique(rows.number * PLACES + rows.place, return_counts=True)
        name = "duplicated" if self._lane.exactly_once else "repeated"
        _note(self._told, name, self._name, _repeated(rows.number * PLACES + rows.place) // PLACES, int((times - 1).sum()))
        refused: Flags = self._state & (OK | UNKNOWN) == 0
        wrong: Bits = bits & (self._lane.expected.letters & ~self._lane.expected.rows)
        wrong |= np.where(refused, bits, 0).astype(np.uint8)
        _note(self._told, "wrongly_landed", self._name, np.flatnonzero(wrong), _ones(wrong))
        stray: Bits = bits & ~(self._lane.expected.rows | self._lane.expected.letters) & ~wrong
        _note(self._told, "unexpected", self._name, np.flatnonzero(stray), _ones(stray))
        strange = ~fits | (~rows.good & ~_has(wrong, rows, fits) & ~_has(stray, rows, fits))
        _note(self._told, "unexpected", self._name, rows.number[strange])
        self._told.landed += _ones(bits & self._lane.expected.rows & ~wrong)
        return bits

    def _take_letters(self) -> Bits:
        # A crash between a letter and its commit writes the same letter again: readers collapse equal ids.
        letters, count = self._lane.letters, len(self._state)
        _, first = np.unique(np.asarray(letters.letter, dtype=object).astype(str), return_index=True)
        self._told.repeated += len(letters.letter) - len(first)
        once = Letters(
            letter=[letters.letter[at] for at in first],
            number=letters.number[first],
            bits=letters.bits[first],
            good=letters.good[first],
        )
        taken = _known(once.number, self._state)
        taken &= self._state[np.where(taken, once.number, 0)] & (OK | UNKNOWN) > 0
        _note(self._told, "unexpected", f"{self._name} letters", once.number[~(taken & once.good)])
        bits = letter_bits(once, count)
        self._judge_letters(once, bits)
        return bits

    def _judge_letters(self, once: Letters, bits: Bits) -> None:
        wanted = self._lane.expected
        for place in range(PLACES):
            _note(self._told, "duplicated", f"{self._name} letters", _repeated(once.number[once.bits & (1 << place) > 0]))
        whole = bits == WHOLE
        self._told.dead_lettered += _ones(bits & wanted.letters)
        wrong: Bits = bits & wanted.rows & ~wanted.letters
        _note(self._told, "wrongly_dead_lettered", self._name, np.flatnonzero(wrong))
        stray = ~whole & (bits & ~(wanted.rows | wanted.letters) > 0) | whole & (wanted.letters == 0) & (wanted.rows == 0)
        _note(self._told, "unexpected", f"{self._name} letters", np.flatnonzero(stray))

    def judge_completeness(self, taken: Flags) -> None:
        """What was taken has all of its outcomes; the lane's own books say the same."""
        wanted = self._lane.expected
        missing = np.where(taken, (wanted.rows | wanted.letters) & ~(self.rows | self.letters), 0).astype(np.uint8)
        _note(self._told, "lost", self._name, np.flatnonzero(missing), _ones(missing))
        if self._lane.ledger:
            for fault in self._disagreements(self._lane.ledger):
                self._told.note("ledger", f"{self._name}: {fault}")

    def _disagreements(self, ledger: found.Ledger) -> Iterable[str]:
        if ledger.unexplained or ledger.lost:
            yield f"{ledger.unexplained} unexplained, {ledger.lost} lost"
        sure = int(np.count_nonzero(self._state & OK))
        most = int(np.count_nonzero(self._state & (OK | UNKNOWN)))
        taken = ledger.read - ledger.duplicates
        if not sure <= taken <= most:
            yield f"{taken} events were taken; {sure} were acknowledged, {most - sure} are unknown"
        written, there = ledger.written + ledger.rows_replayed, len(self._lane.rows.number)
        if written > there or (self._lane.exactly_once and written != there):
            yield f"{written} rows were written, {there} are there"
        letters = len(set(self._lane.letters.letter))
        if ledger.dead_lettered_events + ledger.dead_lettered_rows != letters:
            yield f"{ledger.dead_lettered_events + ledger.dead_lettered_rows} letters were counted, {letters} are there"


def _known(numbers: Numbers, state: Bits) -> Flags:
    inside = (numbers >= 0) & (numbers < len(state))
    return inside & (state[np.where(inside, numbers, 0)] > 0)


def _has(bits: Bits, rows: Rows, fits: Flags) -> Flags:
    """Which rows stand at a place that is set in `bits`."""
    at = bits[np.where(fits, rows.number, 0)]
    return fits & (at >> np.where(fits, rows.place, 0).astype(np.uint8) & 1 > 0)


def _repeated(values: Numbers) -> Numbers:
    """Each value that occurs more than once, as often as it is too many."""
    ordered = np.sort(values)
    too_many: Numbers = ordered[1:][ordered[1:] == ordered[:-1]]
    return too_many


def _ones(bits: Bits) -> int:
    return int(np.unpackbits(bits).sum())


def _note(told: verdict.Verdict, name: str, where: str, numbers: Numbers, times: int | None = None) -> None:
    """Count as many of a class, with the first few as examples."""
    count = len(numbers) if times is None else times
    for number in numbers[:_EXAMPLES]:
        told.note(name, f"{where}: event {number}")
    setattr(told, name, getattr(told, name) + count - min(len(numbers), _EXAMPLES))
