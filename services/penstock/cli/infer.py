"""`penstock infer`: the first pipeline for somebody who has events and no pipeline yet."""

from __future__ import annotations

import itertools
import pathlib
import re
from typing import BinaryIO

import click

from penstock.cli import exits
from penstock.cli.inferring import pipeline_text, sample

EPILOG = """\b
Examples:
  penstock infer sample.ndjson > pipeline.yaml
  head -1000 app.log | penstock infer - --name app-log

\b
Exit codes:
  0 a pipeline was written · 1 the sample can't be read as events
"""


@click.command(epilog=EPILOG, short_help="Write a commented pipeline from a sample of events.")
@click.argument("file", metavar="SAMPLE|-", type=click.File("rb"))
@click.option("--name", help="Name of the pipeline.  [default: from the file's name]")
@click.option("--events", default=10_000, show_default=True, type=click.IntRange(1), help="Look at no more than this many.")
def infer(file: BinaryIO, name: str | None, events: int) -> None:
    """Write a pipeline file to stdout whose schema takes every event of SAMPLE, one JSON object per line."""
    try:
        found = sample.read(itertools.islice(file, events))
    except sample.SampleError as error:
        raise exits.Invalid(f"{file.name}: {error}", "give one JSON object per line") from error
    stem = "" if file.name == "<stdin>" else pathlib.PurePath(file.name).name.partition(".")[0]
    click.echo(pipeline_text.render(found, name=label(name or stem), source=file.name), nl=False)


def label(text: str) -> str:
    """The nearest name an object may have: lower-case letters, digits and dashes, 40 at most."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "events"
