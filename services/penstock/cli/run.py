"""`penstock run`: one pipeline on this machine until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys

import click

from penstock.api import edits, load, lower, machine
from penstock.api.model import pipeline as api_pipeline
from penstock.cli import exits, peering, serving
from penstock.core import errors
from penstock.core.transform import compile as transform_compile
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import directory, secrets, service
from penstock.machine.peers import gate
from penstock.telemetry import logs

_EXAMPLE = """\b
Examples:
  penstock run pipeline.yaml
  penstock run pipeline.yaml --http 127.0.0.1:8081 --data /var/lib/penstock/clicks
  penstock run cluster.yaml --log embedded --sink warehouse=duckdb:out.db

Ctrl-C refuses new events, lands what was accepted and exits; a second Ctrl-C exits at once, and the next start
goes on where this one was, in either case.
"""


@click.command(epilog=_EXAMPLE)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: ./.penstock/NAMESPACE/NAME]")
@click.option("--http", type=serving.Address(), default="127.0.0.1:8080", show_default=True, help="Address of the HTTP door.")
@click.option("--grpc", type=serving.Address(), default="127.0.0.1:9090", show_default=True, help="Address of the gRPC door.")
@click.option("--metrics", type=serving.Address(), default="127.0.0.1:9464", show_default=True, help="Address of /metrics.")
@click.option("--control", type=serving.Address(), help="Also be asked here, not only through the data directory's socket.")
@click.option("--log", "log_type", type=click.Choice(["embedded"]), help="Use this log whatever the file says.")
@click.option("--sink", "sinks", multiple=True, metavar="NAME=TYPE:PATH", help="Land this sink's rows here instead.")
@click.option("--new-log-id", is_flag=True, help="The data directory was put back from a copy: what is in its log is new.")
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="How long Ctrl-C may take to land what is accepted.",
)
@peering.peer_options
def run(
    file: pathlib.Path,
    data: pathlib.Path | None,
    http: str,
    grpc: str,
    metrics: str,
    control: str | None,
    log_type: str | None,
    sinks: tuple[str, ...],
    new_log_id: bool,
    drain_seconds: float,
    peers: gate.Peers,
) -> None:
    """Run the BatchPipeline in FILE on this machine."""
    logs.configure()
    pipeline = accepted(file, log_type, sinks)
    if pipeline.spec.lifecycle == "Stopped":
        click.echo("spec.lifecycle is Stopped: nothing runs; set it to Running", err=True)
        return
    where = directory.DataDirectory(data) if data else directory.default_for(pipeline.metadata.namespace, pipeline.metadata.name)
    _check_edit(pipeline, where, file)
    if new_log_id:
        _renew_log(where)
    addresses = service.Addresses(grpc=grpc, http=http, metrics=metrics, control=control)
    sys.exit(serving.serve(lambda: _run(pipeline, where, addresses, drain_seconds, peers)))


def accepted(
    file: pathlib.Path, log_type: str | None = None, sinks: tuple[str, ...] = (), *, alone: bool = True
) -> api_pipeline.BatchPipeline:
    """The pipeline of a file, ready for one machine, or if it is not `alone` for one of several processes.

    Raises InvalidPipelineError with every problem found.
    """
    overrides = dict(_override(text) for text in sinks)
    written, loaded = load.read_one(file.read_bytes(), file=str(file))
    pipeline = machine.apply_overrides(written if alone else machine.for_processes(written), log_type, overrides)
    problems = machine.one_machine_problems(pipeline) if alone else machine.process_problems(pipeline)
    for sink in pipeline.spec.sinks if not problems else ():
        problems += transform_compile.check(lower.transform_spec(pipeline, sink))
    if problems:
        # Each sink compiles the transform, and would each tell the same of it.
        raise errors.InvalidPipelineError([loaded.located(problem) for problem in dict.fromkeys(problems)])
    ignored = machine.ignored_fields(pipeline) if alone else []
    if ignored:
        click.echo(f"ignored on one machine: {', '.join(ignored)}", err=True)
    unmet = machine.unmet_fields(pipeline)
    if unmet:
        click.echo(f"not in this release yet: {', '.join(unmet)}", err=True)
    return pipeline


def _override(text: str) -> tuple[str, str]:
    name, separator, target = text.partition("=")
    if not separator or ":" not in target:
        raise click.BadParameter(f'"{text}": write NAME=TYPE:PATH, such as warehouse=duckdb:out.db', param_hint="--sink")
    return name, target


def _check_edit(pipeline: api_pipeline.BatchPipeline, where: directory.DataDirectory, file: pathlib.Path) -> None:
    """Hold the rules on edits against what ran here last. Raises InvalidPipelineError."""
    try:
        before = where.pinned()
    except directory.DirectoryError as error:
        raise exits.Invalid(str(error)) from error
    if before is None:
        return
    problems = edits.check_edit(before, pipeline, drained=False)
    drained = bool(problems) and asyncio.run(_is_drained(before, where))
    if drained:
        problems = edits.check_edit(before, pipeline, drained=True)
    if problems:
        raise errors.InvalidPipelineError(problems)
    for notice in edits.notices(before, pipeline):
        click.echo(notice, err=True)


async def _is_drained(before: api_pipeline.BatchPipeline, where: directory.DataDirectory) -> bool:
    """Whether every lane of the last pipeline has finished the whole log."""
    try:
        return await service.is_drained(before, where, _secrets(before, where))
    except port.LogError:
        return False


def _renew_log(where: directory.DataDirectory) -> None:
    """Stores will take what is in the log from here on for new."""
    try:
        if where.log_path.exists():
            embedded.renew(where.log_path)
    except port.LogLockedError as error:
        raise exits.Invalid(str(error)) from error
    except port.LogError as error:
        raise exits.Unreachable(str(error)) from error


async def _run(
    pipeline: api_pipeline.BatchPipeline,
    where: directory.DataDirectory,
    addresses: service.Addresses,
    drain_seconds: float,
    peers: gate.Peers,
) -> int:
    cast, known = service.everything(pipeline, where), _secrets(pipeline, where)
    running = service.Machine(pipeline, cast, addresses, known, where, serving.failpoint(), peers, serving.say_waiting)
    stop = serving.Stop()
    if not await stop.during(running.start()):
        raise click.Abort
    try:
        _say_where(pipeline, where, running)
        if pipeline.spec.lifecycle != "Draining":
            await stop.asked.wait()
        stop.draining = True
        click.echo("draining: new events are refused, accepted ones land (once more to exit at once)", err=True)
        drained = await running.drain(drain_seconds)
    finally:
        await running.close()
    click.echo("drained: everything accepted has landed" if drained else "stopped: the next start goes on from here", err=True)
    return 0


def _secrets(pipeline: api_pipeline.BatchPipeline, where: directory.DataDirectory) -> secrets.SecretStore:
    return secrets.SecretStore(where.secrets_path, os.environ, secrets.names(pipeline))


def _say_where(pipeline: api_pipeline.BatchPipeline, where: directory.DataDirectory, running: service.Machine) -> None:
    name = f"{pipeline.metadata.namespace}/{pipeline.metadata.name}"
    click.echo(f"{name} runs; its data is in {where.path}", err=True)
    if source := pipeline.spec.source.kafka:
        click.echo(f"  events   topics {', '.join(source.topics)} at {', '.join(source.bootstrap_servers)}", err=True)
    else:
        click.echo(f"  events   http://{running.http_address}/v1/events   grpc {running.grpc_address}", err=True)
    click.echo(f"  metrics  http://{running.metrics_address}/metrics", err=True)
    click.echo("  next     penstock top      penstock query 'SELECT …'      penstock dlq ls", err=True)
