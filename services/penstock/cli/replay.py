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
from penstock.cli import dlq_export, dlq_job, dlq_place, dlq_replay, exits
from penstock.cli.showing import dlq_text, replay_text
from penstock.core import selection
from penstock.machine import directory, opening, replays
from penstock.replay import job
from penstock.v1 import control_pb2

EPILOG = """\b
Examples:
  penstock replay -f replay.yaml
  penstock replay -f replay.yaml -f pipeline.yaml --secrets /var/run/penstock/secrets
  penstock replay -f replay.yaml -f pipeline.yaml -o json

\b
The pipeline is the one that spec.pipelineRef names: in one of the files, else in the data directory. With its log in Kafka
nothing else need run; the letters are published, and lanes take them when they run. Done again, it goes on with the rest,
and nothing goes twice. Letters that were made after the object (metadata.creationTimestamp, else now) are left alone.

\b
Exit codes:
  0 done, or nothing matches, or spec.suspend is set
  1 some failed again, so many that the replay was suspended, or a file is invalid
  3 the log does not answer
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
def replay(
    files: tuple[pathlib.Path, ...], data: pathlib.Path | None, secrets: pathlib.Path, export: IO[str], output: str
) -> None:
    """Do what the DeadLetterReplay in FILE says."""
    loaded = [one for file in files for one in load.read(file.read_bytes(), file=str(file))]
    told, created = _only_replay(loaded)
    spec = told.spec
    if spec.select.where is not None:
        raise exits.Invalid("spec.select.where: not in this release yet", "use categories, sinks, fingerprints and times")
    if spec.suspend:
        click.echo("spec.suspend is true: nothing is done until it is false", err=True)
        return
    place, filters = _place(told, loaded, data, secrets), filters_of(spec.select, created)
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


def filters_of(select: api_replay.Select, created: datetime.datetime) -> selection.Filters:
    """`created`: before which letters are meant where `select` names no end, so that a replay always has one."""
    since, until = select.failed_after_time, select.failed_before_time or created
    return selection.Filters(
        categories=frozenset(select.categories),
        sinks=frozenset(select.sinks),
        fingerprints=frozenset(select.fingerprints),
        since_microseconds=_microseconds(since) if since else 0,
        until_microseconds=_microseconds(until),
    )


def _microseconds(time: datetime.datetime) -> int:
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def _only_replay(loaded: Sequence[load.Loaded]) -> tuple[api_replay.DeadLetterReplay, datetime.datetime]:
    """With the time when it was made, as a cluster notes it."""
    found = [(one.object, one) for one in loaded if isinstance(one.object, api_replay.DeadLetterReplay)]
    if len(found) != 1:
        raise exits.Invalid(f"the files hold {len(found)} objects of kind DeadLetterReplay", "give one, with -f")
    [(told, read)] = found
    noted = (read.document.data.get("metadata") or {}).get("creationTimestamp")
    created = datetime.datetime.fromisoformat(str(noted)) if noted else datetime.datetime.now(datetime.UTC)
    return told, created if created.tzinfo else created.replace(tzinfo=datetime.UTC)


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
