"""`penstock dlq`: the dead letters, read from the log itself, so it works while the pipeline runs and when nothing runs.

Listing reads only records' headers, where everything but the original event stands.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import heapq
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click

from penstock.cli import control, exits
from penstock.cli.showing import dlq_text
from penstock.core import deadletters
from penstock.log import port
from penstock.log.embedded import front as embedded

_PAGE_RECORDS = 1_000
_CATEGORIES = [category.value for category in deadletters.Category]

_Result = TypeVar("_Result")

EPILOG = """\b
Examples:
  penstock dlq ls
  penstock dlq ls --category SinkRejected --sink warehouse --since 2h
  penstock dlq ls --limit 1000 -o json | jq -r .message | sort | uniq -c
  penstock dlq show 3f9c2a71
"""

LS_EPILOG = """\b
Examples:
  penstock dlq ls
  penstock dlq ls --category TransformFailed --category Malformed
  penstock dlq ls --since 2026-01-31T08:00:00Z --limit 200
  penstock dlq ls -o json | jq -r .id

\b
Exit codes:
  0 listed, even if there are none · 3 there is no log to read
"""

SHOW_EPILOG = """\b
Examples:
  penstock dlq show 3f9c2a71
  penstock dlq show 3f9c2a71 -o json | jq .original

\b
Exit codes:
  0 shown · 1 no dead letter has this id · 3 there is no log to read
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A letter without its original, and the record that holds it."""

    letter: deadletters.DeadLetter
    partition: int
    offset: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a listing is narrowed to; an empty set narrows nothing. `since` is microseconds since the epoch."""

    categories: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    since_microseconds: int = 0

    def admit(self, letter: deadletters.DeadLetter) -> bool:
        return (
            (not self.categories or letter.category.value in self.categories)
            and (not self.sinks or letter.sink in self.sinks)
            and letter.failed_at_microseconds >= self.since_microseconds
        )


class Since(click.ParamType[int]):
    """`90s`, `15m`, `2h`, `3d` ago, or an ISO 8601 time (UTC where it names no zone); microseconds since the epoch."""

    name = "TIME"
    _SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}  # noqa: RUF012 - never written

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number, unit = value[:-1], value[-1:]
        if number.isdecimal() and unit in self._SECONDS:
            ago = datetime.timedelta(seconds=int(number) * self._SECONDS[unit])
            return int((datetime.datetime.now(datetime.UTC) - ago).timestamp() * 1_000_000)
        try:
            time = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f'"{value}" is no time: write 90s, 15m, 2h or 3d for so long ago, or 2026-01-31T08:00:00Z', param, ctx)
        zoned = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
        return int(zoned.timestamp() * 1_000_000)


_data = click.option(
    "--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]"
)


@click.group(epilog=EPILOG, short_help="List and show dead letters.")
def dlq() -> None:
    """Events and rows that could not be landed, each with its reason and its original bytes."""


@dlq.command("ls", epilog=LS_EPILOG, short_help="List dead letters, newest first.")
@click.option("--category", multiple=True, type=click.Choice(_CATEGORIES, case_sensitive=False), help="Only these categories.")
@click.option("--sink", multiple=True, help="Only letters of these sinks.")
@click.option(
    "--since", type=Since(), default="1970-01-01", help="Only failures since: 90s, 15m, 2h, 3d ago, or an ISO 8601 time."
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@_data
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="json: one object per line."
)
def ls(category: tuple[str, ...], sink: tuple[str, ...], since: int, limit: int, data: pathlib.Path | None, output: str) -> None:
    """List dead letters, newest first, with the counts of all that match by category."""
    filters = Filters(categories=frozenset(category), sinks=frozenset(sink), since_microseconds=since)
    listing = _with_log(data, lambda log: _list(log, filters, limit))
    if output == "json":
        for letter in listing.letters:
            click.echo(dlq_text.as_json_line(letter))
    else:
        dlq_text.print_listing(listing)


@dlq.command("show", epilog=SHOW_EPILOG, short_help="Show one dead letter with its original event.")
@click.argument("id_", metavar="ID")
@_data
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(id_: str, data: pathlib.Path | None, output: str) -> None:
    """Show all that is known of one dead letter. ID is the whole id or a beginning that only one letter has."""
    letter = _with_log(data, lambda log: _show(log, id_.lower()))
    if output == "json":
        click.echo(dlq_text.as_json(letter))
    else:
        dlq_text.print_letter(letter)


def _with_log(data: pathlib.Path | None, use: Callable[[port.EventLog], Awaitable[_Result]]) -> _Result:
    path = control.find(data).log_path

    async def opened() -> _Result:
        log = await embedded.EmbeddedLog.open(path, read_only=True)
        try:
            return await use(log)
        finally:
            await log.close()

    return _run(opened())


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    try:
        return asyncio.run(work)
    except port.LogError as error:
        raise exits.Unreachable(str(error)) from error


async def _list(log: port.EventLog, filters: Filters, limit: int) -> dlq_text.Listing:
    counts: collections.Counter[str] = collections.Counter()
    newest: list[tuple[int, str, deadletters.DeadLetter]] = []
    unreadable: list[str] = []
    async for found in _letters(log, unreadable):
        letter = found.letter
        if not filters.admit(letter):
            continue
        counts[letter.category.value] += 1
        # Ids are unique here, so letters themselves are never compared.
        entry = (letter.failed_at_microseconds, letter.id, letter)
        (heapq.heappush if len(newest) < limit else heapq.heappushpop)(newest, entry)
    letters = [letter for _, _, letter in sorted(newest, reverse=True)]
    return dlq_text.Listing(letters=letters, counts=counts, unreadable=unreadable, filtered=filters != Filters())


async def _show(log: port.EventLog, beginning: str) -> deadletters.DeadLetter:
    ids: list[str] = []
    matching: list[Found] = []
    async for found in _letters(log, []):
        ids.append(found.letter.id)
        if found.letter.id.startswith(beginning):
            matching.append(found)
    if len(matching) != 1:
        raise _not_one(beginning, ids, [found.letter.id for found in matching])
    [record] = await log.read(port.DEAD_LETTERS, matching[0].partition, matching[0].offset, max_bytes=1)
    return deadletters.decode(record.value, record.headers)


def _not_one(beginning: str, ids: Sequence[str], matching: Sequence[str]) -> exits.Invalid:
    if matching:
        return exits.Invalid(
            f"{len(matching)} dead letters begin with {beginning}", f"one of: {', '.join(sorted(matching)[:10])}"
        )
    if not ids:
        return exits.Invalid(f"no dead letter has the id {beginning}: there are no dead letters")
    nearest = max(ids, key=lambda known: (_common(known, beginning), known))
    return exits.Invalid(f"no dead letter has the id {beginning}", f"the nearest is {nearest}; penstock dlq ls lists them")


def _common(one: str, other: str) -> int:
    """How many leading characters they share."""
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    return shared


async def _letters(log: port.EventLog, unreadable: list[str]) -> AsyncIterator[Found]:
    """Every letter once, newest first per partition; of equal ids the newest. What can't be decoded is told in `unreadable`."""
    seen: set[str] = set()
    for partition in range(log.partitions):
        async for record in _headers(log, partition):
            try:
                letter = deadletters.decode(b"", record.headers)
            except deadletters.DeadLetterError as error:
                unreadable.append(f"partition {partition}, offset {record.offset}: {error}")
                continue
            if letter.id not in seen:
                seen.add(letter.id)
                yield Found(letter=letter, partition=partition, offset=record.offset)


async def _headers(log: port.EventLog, partition: int) -> AsyncIterator[port.Record]:
    before = (await log.bounds(port.DEAD_LETTERS, partition)).end
    while page := await log.headers(port.DEAD_LETTERS, partition, before, limit=_PAGE_RECORDS):
        for record in page:
            yield record
        before = page[-1].offset
