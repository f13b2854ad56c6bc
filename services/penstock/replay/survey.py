"""What a replay would do: the letters that are meant and may go now, in order, and how many may not and why."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

from penstock.core import deadletters, dialects, markers, selection
from penstock.log import port
from penstock.replay import book, strays


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for. `lanes` are the lanes that exist: a letter of any other has nowhere to go.

    `renamed` leads from lanes that are no more to those that go on for them.
    """

    filters: selection.Filters
    lanes: frozenset[str]
    max_replays: int = selection.MAX_REPLAYS
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    others: strays.Strays | None = None
    """The letters that are meant are those that stand there."""
    run: str = ""
    """The run (`core.runs`) that this is part of. What it has put back once it leaves alone, whatever became of that."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A record of a replay log that no marker speaks of: a job ended between the two."""

    letter: deadletters.DeadLetter
    partition: int
    offset: int
    letter_offset: int = markers.NOWHERE
    """Where the letter stands in the dead-letter topic, if that is known."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`selected` in order of address, without originals. The others match the filters too and stay where they are."""

    selected: Sequence[book.Found]
    unmarked: Sequence[Published]
    replaying: int
    """Published before and not finished yet."""
    quarantined: int
    """Failed again after as many replays as they may have."""
    unsettled: int
    """Of blocks that their lane has not finished: it may still try them by itself."""
    homeless: int
    """Of lanes that are no more."""
    unreadable: int = 0
    """Records that are no letters."""
    such_as: Sequence[str] = ()
    """A few of them, each with its place and why."""


async def survey(log: port.EventLog, order: Order) -> Survey:
    """Read the dead-letter topic once. Raises LogError."""
    opened = await book.Book.open(log, max_replays=order.max_replays, renamed=order.renamed, others=order.others, run=order.run)
    unmarked = await _unmarked(log, opened, order.lanes)
    for one in unmarked:
        opened.marks.add(marker_of(one, at_microseconds=0, reason=""), one.partition)
    selected: list[book.Found] = []
    counts = dict.fromkeys(("replaying", "quarantined", "unsettled", "homeless"), 0)
    async for found, is_meant in book.meant(opened.letters(), order.filters):
        if not is_meant or found.letter.id in opened.marks.of_run:
            continue
        if why := await _held(log, opened, order, found):
            counts[why] += 1
        elif found.state is selection.State.OUTSTANDING:
            selected.append(found)
    selected.sort(key=lambda found: selection.in_address_order(found.letter, log.known_as))
    return Survey(selected=selected, unmarked=unmarked, unreadable=len(opened.unreadable), such_as=opened.such_as, **counts)


async def _held(log: port.EventLog, opened: book.Book, order: Order, found: book.Found) -> str:
    """Which count a letter that may not go belongs to; empty for one that may, or that is done with."""
    if found.state is selection.State.REPLAYING:
        return "replaying"
    if found.state is selection.State.QUARANTINED:
        return "quarantined"
    if found.state is not selection.State.OUTSTANDING:
        return ""
    if found.letter.lane not in order.lanes:
        return "homeless"
    progress = await opened.progress(found.letter.lane, found.partition)
    return "" if selection.is_settled(found.letter, log.known_as, progress) else "unsettled"


async def _unmarked(log: port.EventLog, opened: book.Book, lanes: frozenset[str]) -> list[Published]:
    """The tails of the lanes' replay logs."""
    found: list[Published] = []
    for lane in sorted(lanes):
        topic = port.replay_topic(book.sink_of(lane))
        for partition in range(log.partitions):
            first = opened.marks.unmarked_from(lane, partition)
            before = (await log.bounds(topic, partition)).end
            while before > first and (page := await log.headers(topic, partition, before, limit=min(1_000, before - first))):
                for record in page:
                    # The lane stops at any other, and whoever mends that leaves it out: no letter has gone with it.
                    with contextlib.suppress(deadletters.DeadLetterError):
                        letter = dialects.decode(b"", record.headers)
                        found.append(Published(letter=letter, partition=partition, offset=record.offset))
                before = page[-1].offset
    return found


def marker_of(published: Published, *, at_microseconds: int, reason: str, run: str = "") -> markers.Marker:
    """What says that a letter stands in the replay log."""
    return markers.Marker(
        kind=markers.Kind.REPLAYED,
        id=published.letter.id,
        lane=published.letter.lane,
        attempt=published.letter.attempt,
        replay_offset=published.offset,
        at_microseconds=at_microseconds,
        reason=reason,
        category=published.letter.category.value,
        letter_offset=published.letter_offset,
        run=run,
    )
