"""`penstock top`: a running pipeline, live."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Sequence

import click
import rich.console
import rich.live
from google.protobuf import json_format

from penstock.cli import control, exits
from penstock.cli.showing import status_view, together
from penstock.machine import directory
from penstock.v1 import control_pb2

_Place = directory.DataDirectory | str

EPILOG = """\b
Examples:
  penstock top
  penstock top --once
  penstock top --data .penstock/web/clickstream -o json
  penstock top --at 127.0.0.1:9465 --at 127.0.0.1:9475

\b
Exit codes:
  0 shown · 1 something is lost, unexplained or halted (--once, -o json) · 3 nothing runs there
"""


@click.command(epilog=EPILOG, short_help="Watch a running pipeline.")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@control.at_option
@click.option("--once", is_flag=True, help="Print one picture and exit.")
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.01, 60), help="Seconds to measure the rates over."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one status object on stdout.")
def top(data: pathlib.Path | None, at: tuple[str, ...], once: bool, every: float, output: str) -> None:
    """Show rate, lag, batches, circuit, ledger and dead letters of the pipeline that runs on this machine, or of the processes
    at these addresses, added up."""
    where = control.places(data, at)
    if output == "json":
        status = _status(where)
        click.echo(json_format.MessageToJson(status, always_print_fields_with_no_presence=True))
        raise SystemExit(_exit_code(status))
    console = rich.console.Console(highlight=False)
    if once or not console.is_terminal:
        raise SystemExit(_exit_code(_print_once(console, where, every)))
    watch(console, lambda: _status(where), every)


def watch(console: rich.console.Console, status: Callable[[], control_pb2.StatusResponse], every: float) -> None:
    """Redraw until interrupted or until `status` raises."""
    earlier: control_pb2.StatusResponse | None = None
    with rich.live.Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            current = status()
            seconds = current.uptime_seconds - earlier.uptime_seconds if earlier else 0.0
            live.update(status_view.view(current, earlier, seconds), refresh=True)
            earlier = current
            time.sleep(every)


def _print_once(console: rich.console.Console, where: Sequence[_Place], seconds: float) -> control_pb2.StatusResponse:
    """One picture whose rates are of the present, which takes two statuses."""
    earlier = _status(where)
    time.sleep(seconds)
    status = _status(where)
    console.print(status_view.view(status, earlier, status.uptime_seconds - earlier.uptime_seconds))
    return status


def _status(where: Sequence[_Place]) -> control_pb2.StatusResponse:
    """Of all of them together. Raises Unreachable when one does not answer: sums without it would be wrong."""
    return together.added([_status_of(one) for one in where])


def _status_of(where: _Place) -> control_pb2.StatusResponse:
    try:
        with control.connected(where) as stub:
            return stub.Status(control_pb2.StatusRequest(), timeout=control.TIMEOUT_SECONDS)
    except control.NotRunningError as error:
        raise exits.Unreachable(str(error), "start it with penstock run") from error


def _exit_code(status: control_pb2.StatusResponse) -> int:
    return exits.INVALID if status_view.alarms(status) else 0
