"""`penstock replay` as the pod of a Job: it goes on until the run is done, tells how far it is, and leaves its last word in a
file that the cluster shows."""

from __future__ import annotations

import datetime
import functools
import os
import pathlib

import click

from penstock.api import machine as api_machine
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.cli import exits, serving
from penstock.core import runs
from penstock.machine import control_server, opening, replay_control, replay_runs, secrets
from penstock.machine.peers import gate
from penstock.telemetry import logs

MOST_REPORT_BYTES = 4_000
"""A cluster keeps 4,096 of a container's last message."""


def served(
    told: api_replay.DeadLetterReplay,
    created: datetime.datetime,
    pipeline: api_pipeline.BatchPipeline,
    *,
    secrets_path: pathlib.Path,
    control: str | None,
    peers: gate.Peers,
    report: pathlib.Path,
) -> None:
    """Return when the run is done, or has suspended itself. Raises Invalid where it can't be done, Unreachable on a signal."""
    logs.configure()
    here = api_machine.for_processes(pipeline)
    if not opening.is_shared(here):
        raise exits.Invalid("spec.log.type is not Kafka, so no process of its own can replay", "leave --report out")
    names = secrets.names(here) | (secrets.names_in(told.spec.source.kafka_topic) if told.spec.source.kafka_topic else set())
    known = secrets.SecretStore(secrets_path, os.environ, names)
    opened = functools.partial(opening.open_log, here, None, known)
    running = replay_runs.ReplayRun(told, created, here, known, opened, serving.failpoint())
    serving.serve(functools.partial(_process, running, here, control, peers))
    last = running.report
    if not last.is_final:
        raise exits.Unreachable("ended by a signal", "started again, it goes on with the rest, and nothing goes twice")
    try:
        report.write_bytes(runs.encode(last, MOST_REPORT_BYTES))
    except OSError as error:
        # What was done is done, and is noted in the log: another try would find it there.
        click.echo(f"{report}: {error.strerror}", err=True)
    click.echo(last.message, err=True)
    if last.phase is runs.Phase.REFUSED:
        raise exits.Invalid(last.message)


async def _process(
    running: replay_runs.ReplayRun, pipeline: api_pipeline.BatchPipeline, control: str | None, peers: gate.Peers
) -> int:
    stop = serving.Stop()
    # The base answers everything else with UNIMPLEMENTED; only its stub calls that abstract.
    servicer = replay_control.ReplayServicer(running, pipeline)  # type: ignore[abstract]
    server = control_server.ControlServer(servicer, lambda: "", peers)
    await server.start(None, control)
    try:
        await stop.during(_done(running))
    finally:
        await server.close()
    return 0


async def _done(running: replay_runs.ReplayRun) -> None:
    await running.go()
