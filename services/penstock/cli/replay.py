"""`penstock replay`: a DeadLetterReplay done once, as a Job of the cluster does it, or a person who keeps them in files."""

from __future__ import annotations

import datetime
import functools
import pathlib
from collections.abc import Sequence
from typing import IO

import click
import msgspec

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.cli import dlq_export, dlq_job, dlq_place, dlq_replay, exits, peering, replay_pod, serving
from penstock.cli.showing import dlq_text, replay_text
from penstock.core import letter_condition, selection
from penstock.machine import directory, opening, replay_runs, replays
from penstock.machine.peers import gate
from penstock.replay import job
from penstock.v1 import control_pb2

EPILOG = """\b
Examples:
  penstock replay -f replay.yaml
  penstock replay -f replay.yaml -f pipeline.yaml --secrets /var/run/penstock/secrets
  penstock replay -f replay.yaml -f pipeline.yaml -o json
  penstock replay -f replay.yaml -f pipeline.yaml --report done.json --control 0.0.0.0:9465 --token-file /etc/penstock/token

\b
The pipeline is the one that spec.pipelineRef names: in one of the files, else in the data directory. With its log in Kafka
nothing else need run; the letters are published, and lanes take them when they run. Done again, it goes on with the rest,
and nothing goes twice. Letters that were made after the object (metadata.creationTimestamp, else now) are left alone.

\b
With --report it is what the pod of a Job is: it waits for brokers and lanes as long as it takes, does nothing where the same
replay was finished before, ends with 0 also where some failed again, and writes how it ended to that file, as JSON.

\b
Exit codes:
  0 done, or nothing matches, or spec.suspend is set
  1 some failed again, so many that the replay was suspended, or a file is invalid
  3 the log does not answer, or with --report a signal came before the end
"""


@click.command("replay", epilog=EPILOG, short_help="Do what a DeadLetterReplay says, once.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="The DeadLetterReplay and its BatchPipeline, in one file or several.",
)
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory, where the pipeline runs on this machine.")
@click.option(
    "--secrets",
    type=click.Path(path_type=pathlib.Path),
    default=pathlib.Path("secrets"),
    show_default=True,
    help="With a log in Kafka: folder of <name>/<key> files; else PENSTOCK_SECRET_<NAME>_<KEY>.",
)
@click.option(
    "--export",
    "export",
    type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    default="-",
    help="Where action Export writes.  [default: standard output]",
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="json: one object per step."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Be a Job's pod; leave the last word here."
)
@click.option("--control", type=serving.Address(), help="With --report: where it is asked how far it is.")
@peering.peer_options
def replay(
    files: tuple[pathlib.Path, ...],
    data: pathlib.Path | None,
    secrets: pathlib.Path,
    export: IO[str],
    output: str,
    report: pathlib.Path | None,
    control: str | None,
    peers: gate.Peers,
) -> None:
    """Do what the DeadLetterReplay in FILE says."""
    loaded = [one for file in files for one in load.read(file.read_bytes(), file=str(file))]
    told, created = _only_replay(loaded)
    spec = told.spec
    if spec.select.where is not None and report is None:
        _check(letter_condition.Condition(spec.select.where))
    if spec.suspend:
        click.echo("spec.suspend is true: nothing is done until it is false", err=True)
        return
    if report is not None:
        replay_pod.served(
            told, created, _described(told, loaded), secrets_path=secrets, control=control, peers=peers, report=report
        )
        return
    place, filters = _place(told, loaded, data, secrets), replay_runs.filters_of(spec.select, created)
    if spec.action == "DryRun":
        _dry_run(spec, place, filters, output)
    elif spec.action == "Replay":
        _replay(spec, place, filters, output)
    elif spec.action == "Discard":
        letters = replays.letters_message(filters, place.topic)
        discarded = dlq_job.discarded(place, control_pb2.DiscardRequest(letters=letters, reason=spec.reason or ""))
        click.echo(f'{{"discarded":{discarded}}}' if output == "json" else f"{discarded:,} discarded")
    else:
        written = functools.partial(dlq_export.written, filters=filters, file=export, line=dlq_text.as_whole_line)
        click.echo(f"{dlq_place.with_log(place, filters, written):,} exported", err=True)


def _check(condition: letter_condition.Condition) -> None:
    try:
        condition.check()
    except letter_condition.ConditionError as error:
        raise exits.Invalid(str(error)) from error


def _only_replay(loaded: Sequence[load.Loaded]) -> tuple[api_replay.DeadLetterReplay, datetime.datetime]:
    """With the time when it was made, as a cluster notes it."""
    found = [(one.object, one) for one in loaded if isinstance(one.object, api_replay.DeadLetterReplay)]
    if len(found) != 1:
        raise exits.Invalid(f"the files hold {len(found)} objects of kind DeadLetterReplay", "give one, with -f")
    [(told, read)] = found
    noted = (read.document.data.get("metadata") or {}).get("creationTimestamp")
    created = datetime.datetime.fromisoformat(str(noted)) if noted else datetime.datetime.now(datetime.UTC)
    return told, created if created.tzinfo else created.replace(tzinfo=datetime.UTC)


def _described(told: api_replay.DeadLetterReplay, loaded: Sequence[load.Loaded]) -> api_pipeline.BatchPipeline:
    """The pipeline that it refers to, which must be in one of the files."""
    wanted = (told.metadata.namespace, told.spec.pipeline_ref.name)
    for one in loaded:
        pipeline = one.object
        if isinstance(pipeline, api_pipeline.BatchPipeline) and (pipeline.metadata.namespace, pipeline.metadata.name) == wanted:
            return pipeline
    raise exits.Invalid(f'spec.pipelineRef.name: "{"/".join(wanted)}" is in none of the files', "give it with another -f")


def _place(
    told: api_replay.DeadLetterReplay, loaded: Sequence[load.Loaded], data: pathlib.Path | None, secrets: pathlib.Path
) -> dlq_place.Place:
    """Where the letters of the pipeline are that it refers to."""
    topic = told.spec.source.kafka_topic
    wanted = (told.metadata.namespace, told.spec.pipeline_ref.name)
    for one in loaded:
        pipeline = one.object
        if isinstance(pipeline, api_pipeline.BatchPipeline) and (pipeline.metadata.namespace, pipeline.metadata.name) == wanted:
            if opening.is_shared(pipeline):
                return dlq_place.of_pipeline(pipeline, secrets, topic)
            return dlq_place.in_directory(data or directory.default_for(*wanted).path, topic)
    place = dlq_place.in_directory(data or _default(wanted), topic)
    ran = place.pipeline.metadata if place.pipeline else None
    if ran is None or (ran.namespace, ran.name) != wanted:
        found = f"{ran.namespace}/{ran.name} has" if ran else "no pipeline has"
        raise exits.Invalid(
            f'spec.pipelineRef.name: "{"/".join(wanted)}" is in none of the files, and {found} run in this data directory',
            "give the pipeline with another -f, or its directory with --data",
        )
    return place


def _default(wanted: tuple[str, str]) -> pathlib.Path | None:
    """Its own directory where there is one, so that several pipelines may have run here."""
    found = directory.default_for(*wanted).path
    return found if found.exists() else None


def _dry_run(spec: api_replay.ReplaySpec, place: dlq_place.Place, filters: selection.Filters, output: str) -> None:
    found = dlq_job.surveyed(place, filters, spec.max_replays_per_event)
    if output == "json":
        click.echo(_as_json(replays.progress_message(job.Progress(survey=found, finished=True))))
    else:
        replay_text.print_dry_run(found)


def _replay(spec: api_replay.ReplaySpec, place: dlq_place.Place, filters: selection.Filters, output: str) -> None:
    request = control_pb2.ReplayRequest(
        letters=replays.letters_message(filters, place.topic),
        events_per_second=spec.events_per_second,
        max_replays=spec.max_replays_per_event,
        reason=spec.reason or "",
        wait_seconds=dlq_job.WAIT_SECONDS,
        suspend_percent=spec.suspend_on_failure.percent,
        suspend_minimum_events=spec.suspend_on_failure.minimum_events,
    )
    if output == "json":
        last = dlq_job.replayed(place, request, lambda progress: click.echo(_as_json(progress)))
    else:
        with replay_text.Bar() as bar:
            last = dlq_job.replayed(place, request, bar.show)
        replay_text.print_outcome(last)
    dlq_replay.judge(last)


def _as_json(progress: control_pb2.ReplayProgress) -> str:
    """Every field of the message, with numbers as numbers."""
    return msgspec.json.encode({field.name: getattr(progress, field.name) for field in progress.DESCRIPTOR.fields}).decode()
