"""`penstock skip`: let a halted lane go on after blocks that can't be read."""

from __future__ import annotations

import pathlib

import click

from penstock.cli import control, exits, offline
from penstock.machine import directory, lanes, skipping
from penstock.v1 import control_pb2

_SECONDS = 120.0

_EPILOG = """\b
Examples:
  penstock skip warehouse
  penstock skip warehouse --yes
  penstock skip warehouse --partition 2 --to 1183 --yes
  penstock skip warehouse --at 10.0.0.5:9465,10.0.0.6:9465 --yes
  penstock skip warehouse -f pipeline.yaml --yes

Without --yes it only says what would be left out. What is left out is lost: it is counted in the ledger, and the
pipeline is no longer conserved. Restoring a copy of the data directory comes first (docs/troubleshooting.md).

\b
Exit codes:
  0 shown, or done · 1 there is nothing to skip, or it was refused · 3 no pipeline has run there
"""


class Offset(click.ParamType[int | None]):
    """An offset, or NEXT: the first block that can be read again."""

    name = "OFFSET|NEXT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value.upper() == "NEXT":
            return -1
        if not value.isdecimal():
            self.fail(f'"{value}" is neither an offset nor NEXT', param, ctx)
        return int(value)


@click.command(epilog=_EPILOG)
@click.argument("sink")
@click.option("--partition", type=click.IntRange(0), help="Partition of the log.  [default: the only one it is stuck in]")
@click.option("--to", type=Offset(), default="NEXT", help="The offset to go on at.  [default: NEXT, the first readable block]")
@click.option("--readable-too", is_flag=True, help="Also give up blocks that can be read and would land.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@control.file_options
@control.at_option
def skip(
    sink: str,
    partition: int | None,
    to: int,
    readable_too: bool,
    yes: bool,
    data: pathlib.Path | None,
    file: pathlib.Path | None,
    secrets_path: pathlib.Path,
    at: tuple[control.Remote, ...],
) -> None:
    """Leave out what the lane of SINK can't read (LogGap, DamagedLog, CorruptBlock, BlockFormat)."""
    request = control_pb2.SkipRequest(sink=sink, readable_too=readable_too, confirmed=yes)
    if partition is not None:
        request.partition = partition
    if to >= 0:
        request.to = to
    if at:
        answers = _asked(at, request)
    elif file is not None:
        answers = [offline.run(_offline(None, file, secrets_path, request))]
    else:
        answers = [_here(control.find(data), request)]
    for answer in answers:
        click.echo(_told(sink, answer))


def _asked(at: tuple[control.Remote, ...], request: control_pb2.SkipRequest) -> list[control_pb2.SkipResponse]:
    """Each process skips what is in the way of its own partitions. Raises Invalid when there was none for any."""
    answers, refusals = [], []
    for where in at:
        try:
            with control.connected(where) as stub:
                answers.append(stub.Skip(request, timeout=_SECONDS))
        except exits.Unreachable:
            raise
        except exits.Invalid as error:
            refusals.append(f"{where}: {error.message}")
        except control.NotRunningError as error:
            raise exits.Unreachable(str(error), "name the processes that run; with none, say -f FILE") from error
    if not answers:
        raise exits.Invalid("\n       ".join(refusals))
    return answers


def _here(where: directory.DataDirectory, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
    try:
        with control.connected(where) as stub:
            return stub.Skip(request, timeout=_SECONDS)
    except control.NotRunningError:
        return offline.run(_offline(where, None, where.secrets_path, request))


async def _offline(
    data: directory.DataDirectory | None, file: pathlib.Path | None, secrets_path: pathlib.Path, request: control_pb2.SkipRequest
) -> control_pb2.SkipResponse:
    async with offline.opened(data, file, secrets_path, writes=request.confirmed) as found:
        sinks = {one.name: one for one in found.pipeline.spec.sinks}
        if request.sink not in sinks:
            raise exits.Invalid(f'no sink "{request.sink}" here; there are: {", ".join(sinks)}')
        asked = skipping.Asked(
            partition=request.partition if request.HasField("partition") else None,
            to=request.to if request.HasField("to") else None,
            readable_too=request.readable_too,
        )
        settings = lanes.lane_for(found.pipeline, sinks[request.sink])
        try:
            made = await skipping.plan(found.log, settings, asked)
            if request.confirmed:
                await skipping.apply(found.log, settings, made)
        except skipping.SkipRefusedError as error:
            raise exits.Invalid(str(error)) from error
        return skipping.message(made, done=request.confirmed)


def _told(sink: str, answer: control_pb2.SkipResponse) -> str:
    start = getattr(answer, "from")
    events = f"{answer.events:,} events" if answer.events or not answer.blocks_unknown else ""
    unknown = f"{answer.blocks_unknown:,} blocks whose events nobody can count" if answer.blocks_unknown else ""
    what = " and ".join(filter(None, (events, unknown)))
    did = "skipped" if answer.done else "would skip"
    lines = [
        f"{sink}, partition {answer.partition}: {did} offsets {start} to {answer.to - 1} ({answer.blocks:,} blocks)",
        f"  why    {answer.reason}",
        f"  lost   {what}",
        f"  then   the lane goes on at offset {answer.to}",
    ]
    if answer.blocks_readable:
        lines.insert(2, f"  of these {answer.blocks_readable:,} blocks can be read")
    return "\n".join(lines if answer.done else [*lines, "nothing was done; say --yes to do it"])
