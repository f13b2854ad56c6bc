"""`penstock top`: a running pipeline, live."""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Callable, Sequence

import click
import rich.console
import rich.live
from google.protobuf import json_format

from penstock.cli import control, exits
from penstock.cli.showing import status_view, together
from penstock.v1 import control_pb2

_Ask = Callable[[], control_pb2.StatusResponse]

EPILOG = """\b
Examples:
  penstock top
  penstock top --once
  penstock top --data .penstock/web/clickstream -o json
  penstock top --at 127.0.0.1:9465,127.0.0.1:9475
  penstock top -f pipeline.yaml

With -f nobody needs to run: lag, ledger and sizes are read from the log's brokers, as the lanes have committed them.

\b
Exit codes:
  0 shown · 1 something is lost, unexplained or halted (--once, -o json) · 3 nothing runs there
"""


@click.command(epilog=EPILOG, short_help="Watch a running pipeline.")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@control.file_options
@control.at_option
@click.option("--once", is_flag=True, help="Print one picture and exit.")
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.01, 60), help="Seconds to measure the rates over."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one status object on stdout.")
def top(
    data: pathlib.Path | None,
    at: tuple[control.Remote, ...],
    once: bool,
    every: float,
    output: str,
    file: pathlib.Path | None,
    secrets_path: pathlib.Path,
) -> None:
    """Show rate, lag, batches, circuit, ledger and dead letters of the pipeline that runs on this machine, or of the processes
    at these addresses, added up."""
    if file is not None and not at:
        ask = functools.partial(_from_brokers, file, secrets_path)
    else:
        ask = functools.partial(together_status, control.places(data, at))
    show(ask, once=once, every=every, output=output)


def show(ask: _Ask, *, once: bool, every: float, output: str) -> None:
    """One picture or a live one; ends with an exit code, or raises what `ask` raises."""
    if output == "json":
        status = ask()
        click.echo(json_format.MessageToJson(status, always_print_fields_with_no_presence=True))
        raise SystemExit(_exit_code(status))
    console = rich.console.Console(highlight=False)
    if once or not console.is_terminal:
        raise SystemExit(_exit_code(_print_once(console, ask, every)))
    watch(console, ask, every)


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


def _print_once(console: rich.console.Console, ask: _Ask, seconds: float) -> control_pb2.StatusResponse:
    """One picture whose rates are of the present, which takes two statuses."""
    earlier = ask()
    time.sleep(seconds)
    status = ask()
    console.print(status_view.view(status, earlier, status.uptime_seconds - earlier.uptime_seconds))
    return status


def _from_brokers(file: pathlib.Path, secrets_path: pathlib.Path) -> control_pb2.StatusResponse:
    # What reads a log comes with extras that asking a process does without.
    from penstock.cli import offline
    from penstock.machine import committed

    async def look() -> control_pb2.StatusResponse:
        async with offline.opened(None, file, secrets_path) as found:
            return await committed.status(found.pipeline, found.log, time.monotonic())

    return offline.run(look())


def together_status(where: Sequence[control.Place]) -> control_pb2.StatusResponse:
    """Of all of them together. Raises Unreachable when one does not answer: sums without it would be wrong."""
    return together.added([_status_of(one) for one in where])


def _status_of(where: control.Place) -> control_pb2.StatusResponse:
    try:
        with control.connected(where) as stub:
            return stub.Status(control_pb2.StatusRequest(), timeout=control.TIMEOUT_SECONDS)
    except control.NotRunningError as error:
        raise exits.Unreachable(str(error), "start it with penstock run") from error


def _exit_code(status: control_pb2.StatusResponse) -> int:
    return exits.INVALID if status_view.alarms(status) else 0
