"""`penstock dlq export`: dead letters with their originals and reasons, into a file, for whoever has to mend them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO

import click

from penstock.cli import dlq_place, dlq_select
from penstock.cli.showing import dlq_text
from penstock.core import deadletters, dialects, selection
from penstock.log import port
from penstock.replay import book

EPILOG = """\b
Examples:
  penstock dlq export letters.ndjson
  penstock dlq export - --category SinkRejected | jq -c .original
  penstock dlq export yesterday.ndjson --since 2026-01-30 --until 2026-01-31
  penstock dlq export for-spring.ndjson --dialect Spring

\b
One JSON object per line: everything known of the letter, `original` (the event, where its bytes are JSON) and
`original_base64` (its bytes, always). Letters of every state are exported; `state` says which.

\b
With --dialect each line is the record that tools around Kafka would read: `value_base64`, and `headers`, a list of `name` and
`value_base64`.

\b
Exit codes:
  0 exported, even if nothing matches · 3 there is no log to read
"""


@click.command("export", epilog=EPILOG, short_help="Write dead letters with their originals to a file.")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=False, atomic=True))
@dlq_select.options
@click.option(
    "--dialect",
    type=click.Choice([dialect.value for dialect in dialects.Dialect], case_sensitive=False),
    help="Write records with the headers of this dialect.",
)
@dlq_place.options_of_export
def export(file: IO[str], filters: selection.Filters, dialect: str | None, place: dlq_place.Place) -> None:
    """Write dead letters with their originals and reasons to FILE as NDJSON; `-` is standard output."""
    line = functools.partial(dlq_text.as_record_line, dialect=dialects.Dialect(dialect)) if dialect else dlq_text.as_whole_line
    count = dlq_place.with_log(place, filters, lambda opened: written(opened, filters, file, line))
    click.echo(f"{count:,} exported", err=True)


async def written(
    where: dlq_place.Opened,
    filters: selection.Filters,
    file: IO[str],
    line: Callable[[deadletters.DeadLetter, selection.State], str],
) -> int:
    """How many letters were written to `file`, one to a line. Those whose events are damaged are named and left out."""
    count = 0
    opened = await book.Book.open(where.log, others=where.others)
    async for found, is_meant in book.meant(opened.letters(), filters):
        if is_meant:
            try:
                whole = await book.with_original(where.log, found, where.others)
            except port.DamagedLogError as error:
                click.echo(f"left out {found.letter.id}: {error}", err=True)
                continue
            file.write(line(whole.letter, whole.state) + "\n")
            count += 1
    if opened.unreadable:
        such_as = "; ".join(map(dlq_text.safe, opened.such_as))
        click.echo(f"left out {len(opened.unreadable):,} that are no letters, such as {such_as}", err=True)
    return count
