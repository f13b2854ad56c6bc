"""`penstock purge`: a pipeline's topics deleted, with every event, dead letter and position in them."""

from __future__ import annotations

import asyncio
import os
import pathlib

import click

from penstock.api import load
from penstock.api import machine as api_machine
from penstock.cli import exits
from penstock.core import errors
from penstock.log import port
from penstock.log.kafka import purging
from penstock.machine import lanes, opening, secrets
from penstock.sinks import port as sinks_port

_EPILOG = """\b
Examples:
  penstock purge -f pipeline.yaml
  penstock purge -f pipeline.yaml --yes clicks

Without --yes it only says what would go. It is refused while processes of the pipeline run. What has landed in stores stays,
and so do topics of others. In a cluster: kubectl penstock purge.

\b
Exit codes:
  0 shown, or done · 1 its log is not in Kafka, or processes run, or the name is another one · 3 the brokers do not answer
"""


@click.command(epilog=_EPILOG, short_help="Delete a pipeline's topics, with all they hold.")
@click.option(
    "-f",
    "--file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="The pipeline, whose log is in Kafka.",
)
@click.option(
    "--secrets",
    "secrets_path",
    type=click.Path(path_type=pathlib.Path),
    default=pathlib.Path("secrets"),
    show_default=True,
    help="Folder of <name>/<key> files; else PENSTOCK_SECRET_<NAME>_<KEY>.",
)
@click.option("--yes", metavar="NAME", help="The name of the pipeline: do it.")
def purge(file: pathlib.Path, secrets_path: pathlib.Path, yes: str | None) -> None:
    """Delete the topics of the pipeline in FILE."""
    pipeline = api_machine.for_processes(load.load_one(file.read_bytes(), file=str(file)))
    name = pipeline.metadata.name
    if not opening.is_shared(pipeline):
        raise exits.Invalid("spec.log.type is not Kafka, so its log is in a data directory", "delete that folder")
    if yes is not None and yes != name:
        raise exits.Invalid(f"--yes {yes} is another name", f"say --yes {name}")
    known = secrets.SecretStore(secrets_path, os.environ, secrets.names(pipeline))
    groups = [lanes.lane_for(pipeline, sink).lane for sink in pipeline.spec.sinks]
    try:
        settings = opening.settings_for(pipeline, known)
        found = asyncio.run(purging.purge(settings, groups, confirmed=yes is not None))
    except port.GroupInUseError as error:
        raise exits.Invalid(str(error), "end them first") from error
    except (port.LogError, errors.InvalidPipelineError) as error:
        raise exits.Unreachable(str(error)) from error
    except sinks_port.SinkError as error:
        raise exits.Unreachable(error.failure.message, error.failure.remedy) from error
    for topic in found:
        click.echo(f"{'deleted' if yes else 'would delete'} {topic}")
    if not found:
        click.echo("there are no topics of this pipeline")
    elif not yes:
        click.echo(f"nothing was done; say --yes {name} to do it")
