"""`penstock where`: what became of an event."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib

import click

from penstock.api import lower
from penstock.cli import control, exits, offline
from penstock.machine import where as searching

_EPILOG = """\b
Examples:
  penstock where id=a
  penstock where user_id=17 id=a --data .penstock/web/clickstream
  penstock where id=a --limit 1 -o json
  penstock where id=a -f pipeline.yaml

\b
Exit codes:
  0 found · 1 not in the log (it was never accepted, or has left the log) · 3 nothing has run there
"""


@click.command(epilog=_EPILOG)
@click.argument("conditions", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1), help="Stop after so many events.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one object per event.")
@control.file_options
def where(
    conditions: tuple[str, ...],
    data: pathlib.Path | None,
    limit: int,
    output: str,
    file: pathlib.Path | None,
    secrets_path: pathlib.Path,
) -> None:
    """Say where the events with these values went, from the log and the dead letters. Works while the pipeline runs."""
    asking = offline.opened(offline.where(data, file), file, secrets_path)
    found = offline.run(_search(asking, conditions, limit, output))
    if not found:
        raise exits.Invalid("no such event is in the log", "it was never accepted, or it has left the log (spec.log.retention)")


async def _search(
    asking: contextlib.AbstractAsyncContextManager[offline.Opened], conditions: tuple[str, ...], limit: int, output: str
) -> int:
    found = 0
    async with asking as place:
        try:
            wanted = searching.conditions(lower.event_schema(place.pipeline), conditions)
        except searching.UnknownFieldError as error:
            raise exits.Invalid(str(error)) from error
        async for sighting in searching.Search(place.pipeline, place.log).sightings(wanted):
            click.echo(_as_json(sighting) if output == "json" else _as_text(sighting))
            found += 1
            if found == limit:
                break
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
