"""How far a run is (`core.runs`), read from the log alone, so that it is the same whoever went on with it.

What a run has put back carries its id in the marker. What is left for it is what a survey would select. Its end is a record
in `outcomes`, which stays as long as the log.
"""

from __future__ import annotations

import collections
import dataclasses
import secrets
from collections.abc import Mapping, Sequence

from penstock.core import deadletters, markers, runs, selection
from penstock.log import port
from penstock.replay import book, survey

_PARTITION = 0
_PAGE_RECORDS = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Of one run, in letters. `unfinished`: put back, and not finished by their lanes. `unsettled`: wait for their block."""

    selected: int
    replayed: int
    landed: int
    failed: int
    discarded: int
    quarantined: int
    unfinished: int
    unsettled: int
    by_category: Mapping[str, int]
    by_error: tuple[runs.ErrorCount, ...]
    began: int = 0
    """When it put back the first, in microseconds; 0 before."""
    unreadable: int = 0
    """Records that are no letters; `such_as` names a few, each with its place and why."""
    such_as: Sequence[str] = ()

    def told(self, **more: object) -> dict[str, object]:
        """The members of a report that stand here, and more."""
        names = ("selected", "replayed", "landed", "failed", "discarded", "quarantined", "by_error")
        return {**{name: getattr(self, name) for name in names}, "by_category": dict(self.by_category), **more}


async def done(log: port.EventLog, run: str) -> runs.Report | None:
    """What it came to, if the run was finished before. Raises LogError."""
    before = (await log.bounds(port.OUTCOMES, _PARTITION)).end
    while page := await log.headers(port.OUTCOMES, _PARTITION, before, limit=_PAGE_RECORDS):
        for record in page:
            if report := runs.done_report(run, record.headers):
                return report
        before = page[-1].offset
    return None


async def finish(log: port.EventLog, run: str, report: runs.Report) -> None:
    """Note that it is done; durable on return. Raises LogError."""
    headers = runs.done_headers(run, report)
    new = port.NewRecord(value=b"", headers=headers, producer=f"run-{secrets.token_hex(8)}", sequence=0)
    await log.append(port.OUTCOMES, _PARTITION, new)


async def account(log: port.EventLog, order: survey.Order) -> Account:
    """Read the dead-letter topic once. Raises LogError."""
    opened = await book.Book.open(log, max_replays=order.max_replays, renamed=order.renamed, others=order.others, run=order.run)
    counting = _Counting(opened.marks.of_run)
    unsettled = quarantined = 0
    async for found, is_meant in book.meant(opened.letters(), order.filters):
        counting.see(found)
        if found.letter.id in opened.marks.of_run or not is_meant:
            continue
        quarantined += found.state is selection.State.QUARANTINED
        if found.state is not selection.State.OUTSTANDING or found.letter.lane not in order.lanes:
            continue
        counting.select(found)
        progress = await opened.progress(found.letter.lane, found.partition)
        unsettled += not selection.is_settled(found.letter, log.known_as, progress)
    return await _told(opened, counting, quarantined=quarantined, unsettled=unsettled)


async def _told(opened: book.Book, counting: _Counting, *, quarantined: int, unsettled: int) -> Account:
    replayed = {
        id_: (marker, partition)
        for id_, (marker, partition) in opened.marks.of_run.items()
        if marker.kind is markers.Kind.REPLAYED
    }
    finished = set()
    for id_, (marker, partition) in replayed.items():
        if marker.replay_offset < (await opened.progress(marker.lane, partition)).replays_finished:
            finished.add(id_)
    failed = counting.failed & finished
    return Account(
        selected=counting.outstanding + len(opened.marks.of_run),
        replayed=len(replayed),
        landed=len(finished) - len(failed),
        failed=len(failed),
        discarded=len(opened.marks.of_run) - len(replayed),
        quarantined=quarantined,
        unfinished=len(replayed) - len(finished),
        unsettled=unsettled,
        by_category=counting.by_category,
        by_error=counting.by_error(),
        began=min((marker.at_microseconds for marker, _ in opened.marks.of_run.values()), default=0),
        unreadable=len(opened.unreadable),
        such_as=opened.such_as,
    )


class _Counting:
    """What grows with the letters of the run and with the causes, and not with the others."""

    def __init__(self, mine: Mapping[str, tuple[markers.Marker, int]]) -> None:
        self._mine = mine
        self._errors: dict[str, tuple[int, str]] = {}
        self.failed: set[str] = set()
        self.outstanding = 0
        self.by_category = collections.Counter(marker.category for marker, _ in mine.values() if marker.category)

    def see(self, found: book.Found) -> None:
        """A letter, which is the newest of its id."""
        letter = found.letter
        if letter.split_from in self._mine:
            # A whole event that failed again may have done so in rows, which have letters of their own.
            self.failed.add(letter.split_from)
        if letter.id in self._mine:
            self._error(letter)
            if letter.attempt > self._mine[letter.id][0].attempt:
                self.failed.add(letter.id)

    def select(self, found: book.Found) -> None:
        """A letter that waits for the run."""
        self.outstanding += 1
        self.by_category[found.letter.category.value] += 1
        self._error(found.letter)

    def _error(self, letter: deadletters.DeadLetter) -> None:
        short = selection.fingerprint_id(letter.fingerprint)
        count, example = self._errors.get(short, (0, letter.message[: runs.MOST_EXAMPLE_CHARACTERS]))
        self._errors[short] = count + 1, example

    def by_error(self) -> tuple[runs.ErrorCount, ...]:
        """The most frequent first, and not all of them."""
        ranked = sorted(self._errors.items(), key=lambda one: (-one[1][0], one[0]))[: runs.MOST_ERRORS]
        return tuple(runs.ErrorCount(fingerprint=short, count=count, example=example) for short, (count, example) in ranked)
