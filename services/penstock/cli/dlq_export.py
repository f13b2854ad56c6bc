"""`penstock dlq export`: dead letters with their originals and reasons, into a file, for whoever has to mend them."""

from __future__ import annotations

import pathlib
from typing import IO

import click

from penstock.cli import dlq_select
from penstock.cli.showing import dlq_text
from penstock.core import selection
from penstock.log import port
from penstock.replay import book

EPILOG = """\b
Examples:
  penstock dlq export letters.ndjson
  penstock dlq export - --category SinkRejected | jq -c .original
  penstock dlq export yesterday.ndjson --since 2026-01-30 --until 2026-01-31

\b
One JSON object per line: everything known of the letter, `original` (the event, where its bytes are JSON) and
`original_base64` (its bytes, always). Letters of every state are exported; `state` says which.

\b
Exit codes:
  0 exported, even if nothing matches · 3 there is no log to read
"""


@click.command("export", epilog=EPILOG, short_help="Write dead letters with their originals to a file.")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=False, atomic=True))
@dlq_select.options
@dlq_select.data
def export(file: IO[str], filters: selection.Filters, data: pathlib.Path | None) -> None:
    """Write dead letters with their originals and reasons to FILE as NDJSON; `-` is standard output."""
    count = dlq_select.with_log(data, lambda log: _export(log, filters, file))
    click.echo(f"{count:,} exported", err=True)


async def _export(log: port.EventLog, filters: selection.Filters, file: IO[str]) -> int:
    count = 0
    opened = await book.Book.open(log)
    async for found in opened.letters():
        if filters.admit(found.letter):
            whole = await book.with_original(log, found)
            file.write(dlq_text.as_whole_line(whole.letter, whole.state) + "\n")
            count += 1
    return count
