"""`penstock dlq analyse`: why events fail, cause by cause, the most frequent first."""

from __future__ import annotations

import contextlib

import click

from penstock.cli import dlq_place, dlq_select
from penstock.cli.showing import causes_text
from penstock.core import selection
from penstock.log import port
from penstock.replay import book, causes

EPILOG = """\b
Examples:
  penstock dlq analyse
  penstock dlq analyse --sink warehouse --since 2h
  penstock dlq analyse -o json | jq -r '[.count, .message] | @tsv'
  penstock dlq ls --fingerprint 5b1e07c2

\b
Exit codes:
  0 analysed, even if nothing is outstanding · 3 there is no log to read
"""


@click.command("analyse", epilog=EPILOG, short_help="Group outstanding dead letters by cause.")
@dlq_select.options
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="How many causes at most.")
@dlq_place.options
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="json: one object per line."
)
def analyse(filters: selection.Filters, limit: int, place: dlq_place.Place, output: str) -> None:
    """Group dead letters that still wait (outstanding or quarantined) by cause: how many, since when, and the newest event."""
    found = dlq_place.with_log(place, filters, lambda opened: _analyse(opened, filters, limit))
    if output == "json":
        for cause in found.causes:
            click.echo(causes_text.as_json_line(cause))
    else:
        causes_text.print_causes(found)


async def _analyse(where: dlq_place.Opened, filters: selection.Filters, limit: int) -> causes_text.Analysis:
    grouped = causes.Causes()
    opened = await book.Book.open(where.log, others=where.others)
    async for found, is_meant in book.meant(opened.letters(), filters):
        if found.state in selection.WAITING and is_meant:
            grouped.add(found)
    ranked = grouped.ranked()
    for cause in ranked[:limit]:
        # An example whose event is damaged is one all the same.
        with contextlib.suppress(port.DamagedLogError):
            cause.example = await book.with_original(where.log, cause.example, where.others)
    return causes_text.Analysis(
        causes=ranked[:limit], of=len(ranked), counts=grouped.by_category(), unreadable=len(opened.unreadable)
    )
