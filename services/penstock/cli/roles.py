"""`penstock ingest`, `penstock batcher`, `penstock sink`: one part of a pipeline as a process of its own, over a Kafka log.

Any number of each may run. None keeps anything on disk: what must outlast it is in the log and in the stores.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, Unpack

import click

from penstock.api.model import pipeline as api_pipeline
from penstock.cli import exits, peering, run, serving
from penstock.machine import secrets, service
from penstock.machine.peers import gate
from penstock.telemetry import logs

_F = TypeVar("_F", bound=Callable[..., Any])

_CLOSE_SECONDS = 5.0
"""After the grace period, for closing in good order."""

_INGEST = """\b
Examples:
  penstock ingest pipeline.yaml
  penstock ingest pipeline.yaml --http 0.0.0.0:8080 --grpc 0.0.0.0:9090 --secrets /var/run/penstock/secrets

SIGTERM: not ready, no new events, those that were received become durable and are answered, exit.
"""
_BATCHER = """\b
Examples:
  penstock batcher pipeline.yaml --sink warehouse --sink-address 127.0.0.1:9095
  penstock batcher pipeline.yaml --sink warehouse --sink-address 10.0.0.5:9095,10.0.0.6:9095
  penstock batcher pipeline.yaml --sink warehouse --sink-address warehouse.web.svc:9095 --token-file /etc/penstock/token

At most as many as the log has partitions have something to do. SIGTERM: read no more, land what was read within the
grace period, commit, leave the group; others go on with the partitions.
"""
_SINK = """\b
Examples:
  penstock sink pipeline.yaml warehouse
  penstock sink pipeline.yaml warehouse --listen 0.0.0.0:9095 --token-file /etc/penstock/token

A store that is files on a machine (DuckDB, Files) takes one such process only. SIGTERM: no new writes, those under way
end, exit.
"""


class _Common(TypedDict):
    secrets_path: pathlib.Path
    control: str
    metrics: str
    grace_seconds: float
    peers: gate.Peers


def _common(command: _F) -> _F:
    """The options that every one of these has."""
    options = (
        click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)),
        click.option(
            "--secrets",
            "secrets_path",
            type=click.Path(path_type=pathlib.Path),
            default=pathlib.Path("secrets"),
            show_default=True,
            help="Folder of <name>/<key> files; else PENSTOCK_SECRET_<NAME>_<KEY>.",
        ),
        click.option(
            "--control", type=serving.Address(), default="127.0.0.1:9465", show_default=True, help="Where top and pause ask."
        ),
        click.option(
            "--metrics",
            type=serving.Address(),
            default="127.0.0.1:9464",
            show_default=True,
            help="Address of /metrics, /livez and /readyz.",
        ),
        click.option(
            "--grace-seconds",
            type=click.FloatRange(0),
            default=25.0,
            show_default=True,
            help="How long SIGTERM may take to finish what was taken; at most 5 s later the process ends.",
        ),
        peering.peer_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=_INGEST, short_help="The doors of a pipeline, as a process of their own.")
@_common
@click.option("--http", type=serving.Address(), default="127.0.0.1:8080", show_default=True, help="Address of the HTTP door.")
@click.option("--grpc", type=serving.Address(), default="127.0.0.1:9090", show_default=True, help="Address of the gRPC door.")
def ingest(file: pathlib.Path, http: str, grpc: str, **common: Unpack[_Common]) -> None:
    """Take events for the pipeline in FILE and write them to its log."""
    pipeline = _pipeline(file)
    if source := pipeline.spec.source.kafka:
        topics = ", ".join(source.topics)
        raise exits.Invalid(f"spec.source.type is Kafka: its events come from {topics}, not to a door", "run `penstock batcher`")
    _serve(pipeline, service.Cast(doors=True), common, grpc=grpc, http=http)


@click.command(epilog=_BATCHER, short_help="The lane of one sink, as a process of its own.")
@_common
@click.option("--sink", "name", required=True, help="The sink whose lane this is.")
@click.option(
    "--sink-address",
    type=serving.Addresses(),
    default="127.0.0.1:9095",
    show_default=True,
    help="Where the sink is served; several with commas, or a name that stands for several.",
)
def batcher(file: pathlib.Path, name: str, sink_address: str, **common: Unpack[_Common]) -> None:
    """Read the log of the pipeline in FILE, and land its rows in one sink."""
    pipeline = _pipeline(file)
    sinks = {sink.name: sink.type for sink in pipeline.spec.sinks}
    if "," in sink_address and sinks.get(name) in ("DuckDB", "Files"):
        told = f"{sink_address}: files on a machine have one writer; run one `penstock sink {name}` and give its address alone"
        raise click.BadParameter(told, param_hint="--sink-address")
    _serve(pipeline, service.Cast(lanes={_sink(pipeline, name, "--sink"): sink_address}), common)


@click.command(epilog=_SINK, short_help="The server in front of one store, as a process of its own.")
@_common
@click.argument("name")
@click.option("--listen", type=serving.Address(), default="127.0.0.1:9095", show_default=True, help="Where batchers write.")
def sink(file: pathlib.Path, name: str, listen: str, **common: Unpack[_Common]) -> None:
    """Serve the store of the sink NAME of the pipeline in FILE."""
    pipeline = _pipeline(file)
    _serve(pipeline, service.Cast(served={_sink(pipeline, name, "NAME"): listen}), common)


def _pipeline(file: pathlib.Path) -> api_pipeline.BatchPipeline:
    logs.configure()
    return run.accepted(file, alone=False)


def _sink(pipeline: api_pipeline.BatchPipeline, name: str, option: str) -> str:
    names = [sink.name for sink in pipeline.spec.sinks]
    if name not in names:
        raise click.BadParameter(f'no sink "{name}" in the pipeline; there are: {", ".join(names)}', param_hint=option)
    return name


def _serve(pipeline: api_pipeline.BatchPipeline, cast: service.Cast, common: _Common, **doors: str) -> None:
    if pipeline.spec.lifecycle == "Stopped":
        click.echo("spec.lifecycle is Stopped: nothing runs; set it to Running", err=True)
        return
    addresses = service.Addresses(metrics=common["metrics"], control=common["control"], **doors)
    known = secrets.SecretStore(common["secrets_path"], os.environ, secrets.names(pipeline))

    async def process() -> int:
        machine = service.Machine(
            pipeline, cast, addresses, known, failpoint=serving.failpoint(), peers=common["peers"], waits=serving.say_waiting
        )
        return await _process(machine, common["grace_seconds"])

    code = serving.serve(process)
    sys.stderr.flush()
    sys.exit(code)


async def _process(running: service.Machine, grace_seconds: float) -> int:
    """Until a signal, then in good order within the grace period; unfinished is what others, or the next start, read again."""
    stop = serving.Stop()
    if not await stop.during(running.start()):
        return 0
    try:
        click.echo(_told(running), err=True)
        if why := await stop.unless(lambda: running.broken):
            stop.draining = True
            stop.end_after(_CLOSE_SECONDS)
            raise exits.Unreachable(why, "another process takes over")
        stop.draining = True
        stop.end_after(grace_seconds + _CLOSE_SECONDS)
        click.echo("ending: what was taken is finished (once more to exit at once)", err=True)
        finished = await running.release(grace_seconds)
    finally:
        await running.close()
    click.echo("ended in good order" if finished else "ended: others read what is unfinished again", err=True)
    return 0


def _told(running: service.Machine) -> str:
    parts = [f"http://{running.http_address}/v1/events   grpc {running.grpc_address}"] if running.http_address else []
    parts += [f"sink {name} at {address}" for name, address in running.sink_addresses.items()]
    return "   ".join(["runs", *parts, f"metrics http://{running.metrics_address}/metrics", f"control {running.control_address}"])
