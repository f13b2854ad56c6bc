"""The `penstock` command: one group, its subcommands, and the one place where an exit code leaves the process."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Mapping
from typing import NoReturn

import click

import penstock
from penstock.cli import exits, lazy
from penstock.core import errors

COMMANDS: Mapping[str, lazy.Lazy] = types.MappingProxyType(
    {
        "run": lazy.Lazy("penstock.cli.run:run", "Run a pipeline on this machine: HTTP :8080, gRPC :9090.", "run"),
        "ingest": lazy.Lazy("penstock.cli.roles:ingest", "Only the doors of a pipeline, over a Kafka log.", "run"),
        "batcher": lazy.Lazy("penstock.cli.roles:batcher", "Only the lane of one sink, over a Kafka log.", "run"),
        "sink": lazy.Lazy("penstock.cli.roles:sink", "Only the server in front of one store.", "run"),
        "validate": lazy.Lazy("penstock.cli.validate:validate", "Check a pipeline file; name line, field, value, remedy."),
        "test": lazy.Lazy("penstock.cli.test:test", "Try a pipeline on a file of events; print rows and rejects.", "batcher"),
        "infer": lazy.Lazy("penstock.cli.infer:infer", "Write a commented pipeline from a sample of events."),
        "send": lazy.Lazy("penstock.cli.send:send", "Stream a file of events into a pipeline, counting every answer."),
        "top": lazy.Lazy("penstock.cli.top:top", "Watch a running pipeline: rate, lag, batch size, ledger."),
        "query": lazy.Lazy("penstock.cli.query:query", "Ask the landed table in SQL.", "sink-duckdb"),
        "pause": lazy.Lazy("penstock.cli.lifecycle:pause", "Hold a running pipeline's lanes; events are accepted meanwhile."),
        "resume": lazy.Lazy("penstock.cli.lifecycle:resume", "Let lanes go on that were paused, by hand or by a flood."),
        "skip": lazy.Lazy("penstock.cli.skip:skip", "Let a halted lane go on after blocks that can't be read.", "run"),
        "lane": lazy.Lazy("penstock.cli.lane:lane", "Give up what the lane of a removed sink has not read.", "run"),
        "purge": lazy.Lazy("penstock.cli.purge:purge", "Delete a pipeline's topics in Kafka, with all they hold.", "run"),
        "crd": lazy.Lazy("penstock.cli.crd:crd", "Print the custom resource definitions, for kubectl."),
        "where": lazy.Lazy("penstock.cli.where:where", "Say what became of an event.", "run"),
        "replay": lazy.Lazy("penstock.cli.replay:replay", "Do what a DeadLetterReplay in a file says, once."),
        "dlq": lazy.Lazy("penstock.cli.dlq:dlq", "List, analyse and replay dead letters."),
        "demo": lazy.Lazy("penstock.cli.demo:demo", "The main job on 336,776 real flights, start to finish.", "run"),
    }
)

EPILOG = """\b
Examples:
  penstock infer sample.ndjson > pipeline.yaml
  penstock validate pipeline.yaml
  penstock run pipeline.yaml
  penstock send events.ndjson
  penstock top

\b
Exit codes:
  0    done, the answer is yes
  1    the answer is no, or the input is invalid
  2    the command line is wrong
  3    the pipeline or its store does not answer
  130  interrupted
"""


@click.group(
    cls=lazy.LazyGroup,
    table=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(penstock.__version__, prog_name="penstock")
def cli() -> None:
    """Events in, batches of the size the destination likes out, every one of them accounted for."""


def main() -> NoReturn:
    """Run the command line and leave the process with a documented exit code."""
    leave_with(cli, "penstock")


def leave_with(group: click.Group, name: str) -> NoReturn:
    """Run a group of commands; `name` is what the user has typed."""
    # What gRPC's core writes to standard error by itself is no log line of ours; its errors come as exceptions too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = group.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = exits.INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be written while the interpreter closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.BROKEN_PIPE
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except errors.InvalidPipelineError as error:
        click.echo(str(error), err=True)
        code = exits.INVALID
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
