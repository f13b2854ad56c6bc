"""`penstock lane drop`: give up what the lane of a removed sink has not read."""

from __future__ import annotations

import datetime
import pathlib

import click

from penstock.cli import control, exits, offline
from penstock.machine import directory, retired
from penstock.v1 import control_pb2

_SECONDS = 60.0

_EPILOG = """\b
Examples:
  penstock lane drop archive
  penstock lane drop archive --yes
  penstock lane drop archive --at 10.0.0.5:9465 --yes
  penstock lane drop archive -f pipeline.yaml --yes

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
@control.file_options
@control.at_option
def drop(
    sink: str,
    yes: bool,
    data: pathlib.Path | None,
    file: pathlib.Path | None,
    secrets_path: pathlib.Path,
    at: tuple[control.Remote, ...],
) -> None:
    """Hold the log no longer for the removed SINK."""
    request = control_pb2.DropLaneRequest(sink=sink, confirmed=yes)
    # One process is enough: what it is told stands in the log that all of them share.
    where: control.Place | None = at[0] if at else offline.where(data, file)
    answer = _asked(where, request) if where is not None else offline.run(_offline(None, file, secrets_path, request))
    left = answer.lane
    since = datetime.datetime.fromtimestamp(left.since_microseconds / 1e6, datetime.UTC)
    did = "dropped" if answer.done else "would drop"
    click.echo(
        f"{did} the lane of {sink}, removed {since:%Y-%m-%d %H:%M} UTC: {left.events:,} events in {left.blocks:,} blocks unread"
    )
    if not answer.done:
        click.echo("nothing was done; say --yes to do it")


def _asked(where: control.Place, request: control_pb2.DropLaneRequest) -> control_pb2.DropLaneResponse:
    try:
        with control.connected(where) as stub:
            return stub.DropLane(request, timeout=_SECONDS)
    except control.NotRunningError as error:
        if not isinstance(where, directory.DataDirectory):
            raise exits.Unreachable(str(error), "name a batcher that runs; with none, say -f FILE") from error
        return offline.run(_offline(where, None, where.secrets_path, request))


async def _offline(
    data: directory.DataDirectory | None,
    file: pathlib.Path | None,
    secrets_path: pathlib.Path,
    request: control_pb2.DropLaneRequest,
) -> control_pb2.DropLaneResponse:
    async with offline.opened(data, file, secrets_path) as found:
        try:
            return await retired.Retired(found.memory, found.pipeline, found.log).drop(request.sink, confirmed=request.confirmed)
        except retired.DropRefusedError as error:
            raise exits.Invalid(str(error)) from error
