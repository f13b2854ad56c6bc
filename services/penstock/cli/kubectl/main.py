"""`kubectl-penstock`: kubectl finds it by its name and calls it for `kubectl penstock`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import NoReturn

import click

import penstock
from penstock.cli import lazy
from penstock.cli import main as own

_HERE = "penstock.cli.kubectl"
COMMANDS: Mapping[str, lazy.Lazy] = types.MappingProxyType(
    {
        "status": lazy.Lazy(f"{_HERE}.status:status", "How a pipeline is, its pods and its replays."),
        "top": lazy.Lazy(f"{_HERE}.top:top", "Watch a pipeline live, asking its pods."),
        "explain": lazy.Lazy(f"{_HERE}.explain:explain", "Why each lane batches as it does."),
        "plan": lazy.Lazy(f"{_HERE}.plan:plan", "What an edit would do, before it is applied.", "batcher"),
        "pause": lazy.Lazy(f"{_HERE}.lifecycle:pause", "Hold the lanes; events are accepted meanwhile."),
        "resume": lazy.Lazy(f"{_HERE}.lifecycle:resume", "Let the lanes go on."),
        "delete": lazy.Lazy(f"{_HERE}.lifecycle:delete", "Take a pipeline away, with --drain once all has landed."),
        "purge": lazy.Lazy(f"{_HERE}.purge:purge", "Take a pipeline away with its topics and all they hold."),
        "where": lazy.Lazy(f"{_HERE}.inside:where", "Say what became of an event."),
        "dlq": lazy.Lazy(f"{_HERE}.inside:dlq", "List, analyse and replay dead letters."),
        "support-bundle": lazy.Lazy(f"{_HERE}.bundle:support_bundle", "One file with all that helps to find a fault."),
    }
)

EPILOG = """\b
Examples:
  kubectl penstock status -n web
  kubectl penstock top -n web clicks
  kubectl penstock plan -n web -f pipeline.yaml
  kubectl penstock dlq -n web clicks analyse

\b
Exit codes are those of penstock: 0 yes, 1 no, 2 the command line is wrong, 3 the cluster or a pod does not answer.
"""


@click.group(
    cls=lazy.LazyGroup,
    table=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(penstock.__version__, prog_name="kubectl penstock")
def cli() -> None:
    """Pipelines in a cluster, with your own rights there. It goes through kubectl, and so does every log-in."""


def main() -> NoReturn:
    """Run the command line and leave the process with a documented exit code."""
    own.leave_with(cli, "kubectl penstock")


if __name__ == "__main__":
    main()
