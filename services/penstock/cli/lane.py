"""`penstock lane drop`: give up what the lane of a removed sink has not read."""

from __future__ import annotations

import asyncio
import datetime
import pathlib

import click

from penstock.cli import control, exits
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import directory, retired
from penstock.v1 import control_pb2

_SECONDS = 60.0

_EPILOG = """\b
Examples:
  penstock lane drop archive
  penstock lane drop archive --yes

Without --yes it only says what would be given up. The lane of a removed sink is dropped by itself after a day.

\b
Exit codes:
  0 shown, or done · 1 there is no such lane, or its sink is still in the pipeline · 3 no pipeline has run there
"""


@click.group(short_help="Give up what the lane of a removed sink has not read.")
def lane() -> None:
    """Lanes of sinks that were removed."""


@lane.command(epilog=_EPILOG)
@click.argument("sink")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
def drop(sink: str, yes: bool, data: pathlib.Path | None) -> None:
    """Hold the log no longer for the removed SINK."""
    where = control.find(data)
    try:
        with control.connected(where) as stub:
            answer = stub.DropLane(control_pb2.DropLaneRequest(sink=sink, confirmed=yes), timeout=_SECONDS)
    except control.NotRunningError:
        answer = _offline(where, sink, confirmed=yes)
    left = answer.lane
    since = datetime.datetime.fromtimestamp(left.since_microseconds / 1e6, datetime.UTC)
    did = "dropped" if answer.done else "would drop"
    click.echo(
        f"{did} the lane of {sink}, removed {since:%Y-%m-%d %H:%M} UTC: {left.events:,} events in {left.blocks:,} blocks unread"
    )
    if not answer.done:
        click.echo("nothing was done; say --yes to do it")


def _offline(where: directory.DataDirectory, sink: str, *, confirmed: bool) -> control_pb2.DropLaneResponse:
    pipeline = where.pinned()
    if pipeline is None:
        raise exits.Unreachable(f"no pipeline has been accepted in {where.path} yet", "start one with penstock run")

    async def act() -> control_pb2.DropLaneResponse:
        log = await embedded.EmbeddedLog.open(where.log_path, read_only=True)
        try:
            return await retired.Retired(where, pipeline, log).drop(sink, confirmed=confirmed)
        finally:
            await log.close()

    try:
        return asyncio.run(act())
    except retired.DropRefusedError as error:
        raise exits.Invalid(str(error)) from error
    except (port.LogError, directory.DirectoryError) as error:
        raise exits.Unreachable(str(error)) from error
