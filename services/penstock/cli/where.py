"""`penstock where`: what became of an event."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import pathlib

import click

from penstock.api import lower
from penstock.cli import control, exits
from penstock.log import port
from penstock.machine import directory, opening
from penstock.machine import where as searching

_EPILOG = """\b
Examples:
  penstock where id=a
  penstock where user_id=17 id=a --data .penstock/web/clickstream
  penstock where id=a --limit 1 -o json

\b
Exit codes:
  0 found · 1 not in the log (it was never accepted, or has left the log) · 3 nothing has run there
"""


@click.command(epilog=_EPILOG)
@click.argument("conditions", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1), help="Stop after so many events.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one object per event.")
def where(conditions: tuple[str, ...], data: pathlib.Path | None, limit: int, output: str) -> None:
    """Say where the events with these values went, from the log and the dead letters. Works while the pipeline runs."""
    place = control.find(data)
    try:
        found = asyncio.run(_search(place, conditions, limit, output))
    except searching.UnknownFieldError as error:
        raise exits.Invalid(str(error)) from error
    except port.LogError as error:
        raise exits.Unreachable(str(error)) from error
    if not found:
        raise exits.Invalid("no such event is in the log", "it was never accepted, or it has left the log (spec.log.retention)")


async def _search(place: directory.DataDirectory, conditions: tuple[str, ...], limit: int, output: str) -> int:
    pipeline = place.pinned()
    if pipeline is None:
        raise exits.Unreachable(f"no pipeline has been accepted in {place.path} yet", "start one with penstock run")
    wanted = searching.conditions(lower.event_schema(pipeline), conditions)
    log = await opening.open_there(place, os.environ)
    found = 0
    try:
        async for sighting in searching.Search(pipeline, log).sightings(wanted):
            click.echo(_as_json(sighting) if output == "json" else _as_text(sighting))
            found += 1
            if found == limit:
                break
    finally:
        await log.close()
    return found


def _time(microseconds: int) -> str:
    return datetime.datetime.fromtimestamp(microseconds / 1e6, datetime.UTC).isoformat(timespec="milliseconds")


def _as_text(sighting: searching.Sighting) -> str:
    place = sighting.address.position
    head = f"partition {sighting.address.partition}, offset {place.offset}, event {place.ordinal}, accepted"
    lines = [f"{head} {_time(sighting.append_time_microseconds)}"]
    lines += [f"  {fate.sink}: {fate.fate.value}, {fate.detail}" for fate in sighting.fates]
    return "\n".join(lines)


def _as_json(sighting: searching.Sighting) -> str:
    return json.dumps(
        {
            "address": str(sighting.address),
            "accepted": _time(sighting.append_time_microseconds),
            "lanes": [{"sink": fate.sink, "fate": fate.fate.value, "detail": fate.detail} for fate in sighting.fates],
        }
    )
