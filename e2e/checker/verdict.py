"""The verdict: every event that was acknowledged is in each sink or its dead letters, once, as it was sent.

Pure. The classes are those of a set checked for lost and unexpected elements; an event whose answer is unknown may be
there whole or not at all. Each class has a mutant history in tests/unit/e2e that only it catches.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from e2e.checker import found, history

_EXAMPLES = 5
_FATAL = (
    "lost",
    "duplicated",
    "unexpected",
    "wrongly_dead_lettered",
    "wrongly_landed",
    "out_of_order",
    "commit_ahead",
    "ledger",
)


@dataclasses.dataclass(slots=True, kw_only=True)
class Verdict:
    """Counts by class. `repeated` are second copies where a sink promises no better; `recovered` came without an answer."""

    acknowledged: int = 0
    recovered: int = 0
    landed: int = 0
    dead_lettered: int = 0
    repeated: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    wrongly_dead_lettered: int = 0
    wrongly_landed: int = 0
    out_of_order: int = 0
    commit_ahead: int = 0
    ledger: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing happened that must never happen."""
        return not any(getattr(self, name) for name in _FATAL)

    def note(self, name: str, what: str) -> None:
        """Count one of a class; the first few of each are kept to be read."""
        setattr(self, name, getattr(self, name) + 1)
        if sum(example.startswith(name) for example in self.examples) < _EXAMPLES:
            self.examples.append(f"{name}: {what}")


def judge(
    events: Mapping[str, history.Event],
    stores: Mapping[str, found.Store],
    letters: Sequence[found.Letter],
    ledgers: Mapping[str, found.Ledger] | None = None,
    samples: Iterable[found.Sample] = (),
) -> Verdict:
    """Judge what was found after quiescence. `ledgers` by sink, of a log whose lanes began with this history."""
    verdict = Verdict(acknowledged=sum(event.result == "ok" for event in events.values()))
    present: set[str] = set()
    for sink, store in stores.items():
        mine = [letter for letter in letters if letter.sink == sink]
        lane = _Lane(sink, events, verdict)
        lane.take_rows(store)
        lane.take_letters(mine)
        present |= lane.present
    verdict.recovered = sum(event.result == "unknown" and event.id in present for event in events.values())
    for sink, store in stores.items():
        _completeness(sink, events, present, _places(store, letters, sink), verdict)
        if store.ordered:
            _order(sink, events, store, verdict)
    for sink, ledger in (ledgers or {}).items():
        for fault in _disagreements(ledger, events, stores[sink], [one for one in letters if one.sink == sink]):
            verdict.note("ledger", f"{sink}: {fault}")
    for sample in samples:
        _ahead(sample, events, verdict)
    return verdict


class _Lane:
    """One sink's rows and letters, looked at one by one."""

    def __init__(self, sink: str, events: Mapping[str, history.Event], verdict: Verdict) -> None:
        self._sink, self._events, self._verdict = sink, events, verdict
        self.present: set[str] = set()

    def _expected(self, id_: str) -> history.Expected:
        return self._events[id_].sinks.get(self._sink, history.Expected())

    def take_rows(self, store: found.Store) -> None:
        seen: collections.Counter[tuple[str, str]] = collections.Counter()
        for row in store.rows:
            seen[row.id, row.place] += 1
            self._row(row)
        for (id_, place), times in seen.items():
            for _ in range(times - 1):
                self._verdict.note("duplicated" if store.exactly_once else "repeated", f"{self._sink}: row {id_}/{place}")

    def _row(self, row: found.Row) -> None:
        name = f"{self._sink}: row {row.id}/{row.place}"
        event = self._events.get(row.id)
        if event is None:
            return self._verdict.note("unexpected", f"{name} was never sent")
        self.present.add(row.id)
        expected = self._expected(row.id)
        if event.result == "fail" or row.place in expected.letters - expected.rows.keys() or history.WHOLE in expected.letters:
            return self._verdict.note("wrongly_landed", name)
        if expected.rows.get(row.place) != row.digest:
            return self._verdict.note("unexpected", f"{name} is not what was sent")
        self._verdict.landed += 1
        return None

    def take_letters(self, letters: Sequence[found.Letter]) -> None:
        # A crash between a letter and its commit writes the same letter again: readers collapse equal ids.
        once = {(letter.letter, letter.attempt): letter for letter in letters}
        self._verdict.repeated += len(letters) - len(once)
        failed: collections.Counter[tuple[str, str, int]] = collections.Counter()
        for letter in once.values():
            self._letter(letter)
            failed.update((letter.id, place, letter.attempt) for place in letter.places)
        for (id_, place, _), times in failed.items():
            if times > 1:
                self._verdict.note("duplicated", f"{self._sink}: letters with different ids for {id_}/{place}")

    def _letter(self, letter: found.Letter) -> None:
        event = self._events.get(letter.id)
        name = f"{self._sink}: letter {letter.id}/{','.join(letter.places)}"
        if event is None or event.sha != letter.sha or event.result == "fail":
            return self._verdict.note("unexpected", f"{name} is of an event that was not taken, or not as it was sent")
        self.present.add(letter.id)
        expected = self._expected(letter.id)
        for place in letter.places:
            if place in expected.letters:
                self._verdict.dead_lettered += 1
            elif place in expected.rows or place == history.WHOLE:
                self._verdict.note("wrongly_dead_lettered", name)
            else:
                self._verdict.note("unexpected", f"{name}: there is no such row")
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Places:
    rows: frozenset[tuple[str, str]]
    letters: frozenset[tuple[str, str]]


def _places(store: found.Store, letters: Iterable[found.Letter], sink: str) -> _Places:
    return _Places(
        frozenset((row.id, row.place) for row in store.rows),
        frozenset((one.id, place) for one in letters if one.sink == sink for place in one.places),
    )


def _missing(event: history.Event, sink: str, places: _Places, *, at_rest: bool = True) -> Iterator[str]:
    """Places of an event that have no outcome, or, where both were promised and all is at rest, not both."""
    expected = event.sinks.get(sink, history.Expected())
    whole = (event.id, history.WHOLE) in places.letters
    for place in sorted(expected.rows.keys() | expected.letters):
        row, letter = (event.id, place) in places.rows, whole or (event.id, place) in places.letters
        both = at_rest and place in expected.rows and place in expected.letters
        if not (row and letter if both else row or letter):
            yield place


def _completeness(sink: str, events: Mapping[str, history.Event], present: set[str], places: _Places, verdict: Verdict) -> None:
    """What is there in part was taken: an unknown answer excuses the whole of an event, never a part."""
    for event in events.values():
        if event.result == "ok" or (event.result == "unknown" and event.id in present):
            for place in _missing(event, sink, places):
                verdict.note("lost", f"{sink}: {event.id}/{place}, answered {event.result}")


def _order(sink: str, events: Mapping[str, history.Event], store: found.Store, verdict: Verdict) -> None:
    newest: dict[str, tuple[int, int]] = {}
    for row in store.rows:
        if event := events.get(row.id):
            here = event.seq, int(row.place)
            if here < newest.get(event.key, here):
                verdict.note("out_of_order", f"{sink}: {row.id}/{row.place} came after {newest[event.key]}")
            newest[event.key] = max(here, newest.get(event.key, here))


def _disagreements(
    ledger: found.Ledger, events: Mapping[str, history.Event], store: found.Store, letters: Sequence[found.Letter]
) -> Iterator[str]:
    """What the lane says of itself against what was sent and what is there."""
    if ledger.unexplained or ledger.lost:
        yield f"{ledger.unexplained} unexplained, {ledger.lost} lost"
    known = collections.Counter(event.result for event in events.values())
    taken = ledger.read - ledger.duplicates
    if not known["ok"] <= taken <= known["ok"] + known["unknown"]:
        yield f"{taken} events were taken; {known['ok']} were acknowledged, {known['unknown']} are unknown"
    written = ledger.written + ledger.rows_replayed
    if written > len(store.rows) or (store.exactly_once and written != len(store.rows)):
        yield f"{written} rows were written, {len(store.rows)} are there"
    first = {one.letter: one.places == (history.WHOLE,) for one in letters if one.attempt == 1}
    whole = sum(first.values())
    if (ledger.dead_lettered_events, ledger.dead_lettered_rows) != (whole, len(first) - whole):
        told = f"{ledger.dead_lettered_events} events and {ledger.dead_lettered_rows} rows were dead-lettered"
        yield f"{told}; there are letters of {whole} and {len(first) - whole}"


def _ahead(sample: found.Sample, events: Mapping[str, history.Event], verdict: Verdict) -> None:
    places = _Places(sample.rows, sample.letters)
    for id_ in sorted(sample.committed):
        if (event := events.get(id_)) and any(True for _ in _missing(event, sample.sink, places, at_rest=False)):
            verdict.note("commit_ahead", f"{sample.sink}: {id_} is below the committed offset and not landed")
