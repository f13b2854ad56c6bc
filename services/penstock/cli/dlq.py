"""`penstock dlq`: the dead letters, read from the log itself, so it works while the pipeline runs and when nothing runs.

Listing reads only records' headers, where everything but the original event stands. What changes the fate of letters is in
modules of its own and goes through the running pipeline.
"""

from __future__ import annotations

import collections
import heapq
from collections.abc import Sequence

import click

from penstock.cli import dlq_analyse, dlq_export, dlq_place, dlq_replay, dlq_select, exits
from penstock.cli.showing import dlq_text
from penstock.core import selection
from penstock.replay import book

EPILOG = """\b
Examples:
  penstock dlq ls
  penstock dlq ls --category SinkRejected --sink warehouse --since 2h
  penstock dlq ls --limit 1000 -o json | jq -r .message | sort | uniq -c
  penstock dlq show 3f9c2a71
  penstock dlq analyse --since 2h
  penstock dlq replay --fingerprint 5b1e07c2 --dry-run
"""

LS_EPILOG = """\b
Examples:
  penstock dlq ls
  penstock dlq ls --category TransformFailed --category Malformed
  penstock dlq ls --since 2026-01-31T08:00:00Z --limit 200
  penstock dlq ls -f pipeline.yaml --topic orders-dlq
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


@click.group(epilog=EPILOG, short_help="List, analyse and replay dead letters.")
def dlq() -> None:
    """Events and rows that could not be landed, each with its reason and its original bytes."""


@dlq.command("ls", epilog=LS_EPILOG, short_help="List dead letters, newest first.")
@dlq_select.options
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@dlq_place.options
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="json: one object per line."
)
def ls(filters: selection.Filters, limit: int, place: dlq_place.Place, output: str) -> None:
    """List dead letters, newest first, with what has become of them and the counts of all that match by category."""
    listing = dlq_place.with_log(place, filters, lambda opened: _list(opened, filters, limit))
    if output == "json":
        for found in listing.letters:
            click.echo(dlq_text.as_json_line(found.letter, found.state))
        for line in dlq_text.unreadable(listing):
            click.echo(line, err=True)
    else:
        dlq_text.print_listing(listing)


@dlq.command("show", epilog=SHOW_EPILOG, short_help="Show one dead letter with its original event.")
@click.argument("id_", metavar="ID")
@click.option("--sink", help="With --topic: the sink whose lane takes the letters, where the pipeline has several.")
@dlq_place.options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(id_: str, sink: str | None, place: dlq_place.Place, output: str) -> None:
    """Show all that is known of one dead letter. ID is the whole id or a beginning that only one letter has."""
    filters = selection.Filters(sinks=frozenset({sink} if sink else ()))
    found = dlq_place.with_log(place, filters, lambda opened: _show(opened, id_.lower()))
    if output == "json":
        click.echo(dlq_text.as_json(found.letter, found.state))
    else:
        dlq_text.print_letter(found.letter, found.state)


for command in (dlq_analyse.analyse, dlq_replay.replay, dlq_replay.discard, dlq_export.export):
    dlq.add_command(command)


async def _list(where: dlq_place.Opened, filters: selection.Filters, limit: int) -> dlq_text.Listing:
    counts: collections.Counter[str] = collections.Counter()
    states: collections.Counter[str] = collections.Counter()
    newest: list[tuple[int, str, book.Found]] = []
    opened = await book.Book.open(where.log, others=where.others)
    async for found, is_meant in book.meant(opened.letters(), filters):
        letter = found.letter
        if not is_meant:
            continue
        counts[letter.category.value] += 1
        states[found.state.value] += 1
        # Ids are unique here, so letters themselves are never compared.
        entry = (letter.failed_at_microseconds, letter.id, found)
        (heapq.heappush if len(newest) < limit else heapq.heappushpop)(newest, entry)
    letters = [found for _, _, found in sorted(newest, key=lambda entry: entry[:2], reverse=True)]
    return dlq_text.Listing(
        letters=letters,
        counts=counts,
        states=states,
        unreadable=opened.unreadable,
        limit=limit,
        filtered=filters != selection.Filters(),
    )


async def _show(where: dlq_place.Opened, beginning: str) -> book.Found:
    ids: list[str] = []
    matching: list[book.Found] = []
    opened = await book.Book.open(where.log, others=where.others)
    async for found in opened.letters():
        ids.append(found.letter.id)
        if found.letter.id.startswith(beginning):
            matching.append(found)
    if len(matching) != 1:
        raise _not_one(beginning, ids, [found.letter.id for found in matching])
    return await book.with_original(where.log, matching[0], where.others)


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
