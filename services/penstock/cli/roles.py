"""`penstock ingest`, `penstock batcher`, `penstock sink`: one part of a pipeline as a process of its own, over a Kafka log.

Any number of each may run. None keeps anything on disk: what must outlast it is in the log and in the stores.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.api.model import pipeline as api_pipeline
from penstock.cli import exits, run, serving
from penstock.machine import secrets, service
from penstock.telemetry import logs

_F = TypeVar("_F", bound=Callable[..., Any])

_INGEST = """\b
Examples:
  penstock ingest pipeline.yaml
  penstock ingest pipeline.yaml --http 0.0.0.0:8080 --grpc 0.0.0.0:9090 --secrets /var/run/penstock/secrets

SIGTERM: not ready, no new events, those that were received become durable and are answered, exit.
"""
_BATCHER = """\b
Examples:
  penstock batcher pipeline.yaml --sink warehouse --sink-address 127.0.0.1:9095
  penstock batcher pipeline.yaml --sink warehouse --sink-address warehouse.web.svc:9095

At most as many as the log has partitions have something to do. SIGTERM: read no more, land what was read within the
grace period, commit, leave the group; others go on with the partitions.
"""
_SINK = """\b
Examples:
  penstock sink pipeline.yaml warehouse
  penstock sink pipeline.yaml warehouse --listen 0.0.0.0:9095

A store that is files on a machine (DuckDB, Files) takes one such process only. SIGTERM: no new writes, those under way
end, exit.
"""


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
            help="How long SIGTERM may take.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=_INGEST, short_help="The doors of a pipeline, as a process of their own.")
@_common
@click.option("--http", type=serving.Address(), default="127.0.0.1:8080", show_default=True, help="Address of the HTTP door.")
@click.option("--grpc", type=serving.Address(), default="127.0.0.1:9090", show_default=True, help="Address of the gRPC door.")
def ingest(
    file: pathlib.Path, secrets_path: pathlib.Path, control: str, metrics: str, grace_seconds: float, http: str, grpc: str
) -> None:
    """Take events for the pipeline in FILE and write them to its log."""
    addresses = service.Addresses(grpc=grpc, http=http, metrics=metrics, control=control)
    _serve(_pipeline(file), service.Cast(doors=True), addresses, secrets_path, grace_seconds)


@click.command(epilog=_BATCHER, short_help="The lane of one sink, as a process of its own.")
@_common
@click.option("--sink", "name", required=True, help="The sink whose lane this is.")
@click.option(
    "--sink-address", type=serving.Address(), default="127.0.0.1:9095", show_default=True, help="Where the sink is served."
)
def batcher(
    file: pathlib.Path, secrets_path: pathlib.Path, control: str, metrics: str, grace_seconds: float, name: str, sink_address: str
) -> None:
    """Read the log of the pipeline in FILE, and land its rows in one sink."""
    pipeline = _pipeline(file)
    cast = service.Cast(lanes={_sink(pipeline, name, "--sink"): sink_address})
    _serve(pipeline, cast, service.Addresses(metrics=metrics, control=control), secrets_path, grace_seconds)


@click.command(epilog=_SINK, short_help="The server in front of one store, as a process of its own.")
@_common
@click.argument("name")
@click.option("--listen", type=serving.Address(), default="127.0.0.1:9095", show_default=True, help="Where batchers write.")
def sink(
    file: pathlib.Path, secrets_path: pathlib.Path, control: str, metrics: str, grace_seconds: float, name: str, listen: str
) -> None:
    """Serve the store of the sink NAME of the pipeline in FILE."""
    pipeline = _pipeline(file)
    cast = service.Cast(served={_sink(pipeline, name, "NAME"): listen})
    _serve(pipeline, cast, service.Addresses(metrics=metrics, control=control), secrets_path, grace_seconds)


def _pipeline(file: pathlib.Path) -> api_pipeline.BatchPipeline:
    logs.configure()
    return run.accepted(file, alone=False)


def _sink(pipeline: api_pipeline.BatchPipeline, name: str, option: str) -> str:
    names = [sink.name for sink in pipeline.spec.sinks]
    if name not in names:
        raise click.BadParameter(f'no sink "{name}" in the pipeline; there are: {", ".join(names)}', param_hint=option)
    return name


def _serve(
    pipeline: api_pipeline.BatchPipeline,
    cast: service.Cast,
    addresses: service.Addresses,
    secrets_path: pathlib.Path,
    grace_seconds: float,
) -> None:
    if pipeline.spec.lifecycle == "Stopped":
        click.echo("spec.lifecycle is Stopped: nothing runs; set it to Running", err=True)
        return
    known = secrets.SecretStore(secrets_path, os.environ, secrets.names(pipeline))

    async def process() -> int:
        return await _process(service.Machine(pipeline, cast, addresses, known, failpoint=serving.failpoint()), grace_seconds)

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
            raise exits.Unreachable(why, "another process takes over")
        stop.draining = True
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
