"""`penstock pause` and `penstock resume`: hold a running pipeline's lanes, and let them go on."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import click

from penstock.cli import control, exits
from penstock.v1 import control_pb2

_PAUSE = """\b
Examples:
  penstock pause
  penstock pause warehouse --data .penstock/web/clickstream

  penstock pause --at 127.0.0.1:9465,127.0.0.1:9475

Events are accepted meanwhile and wait in the log. The pause ends with the process; spec.lifecycle: Paused lasts.
"""

_RESUME = """\b
Examples:
  penstock resume
  penstock resume warehouse

A lane that a flood of refusals has paused goes on too: mend the cause first.
"""


def _command(name: str, lifecycle: str, text: str, epilog: str) -> click.Command:
    def act(sink: str, data: pathlib.Path | None, at: tuple[control.Remote, ...]) -> None:
        request = control_pb2.SetLifecycleRequest(sink=sink, lifecycle=lifecycle)
        for where in control.places(data, at):
            try:
                with control.connected(where) as stub:
                    reached = stub.SetLifecycle(request, timeout=control.TIMEOUT_SECONDS)
            except control.NotRunningError as error:
                raise exits.Unreachable(str(error), "start it with penstock run") from error
            click.echo(f"{sink or 'all lanes'}{f' at {where}' if at else ''}: {reached.lifecycle}")

    return click.command(name, help=text, epilog=epilog)(_arguments(act))


def _arguments(act: Callable[..., None]) -> Callable[..., None]:
    data = click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one here]")
    return data(control.at_option(click.argument("sink", default="")(act)))


pause = _command("pause", "Paused", "Hold the lane of SINK, or all of them: nothing is read or written.", _PAUSE)
resume = _command("resume", "Running", "Let the lane of SINK, or all of them, go on.", _RESUME)
