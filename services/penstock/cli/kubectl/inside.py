"""`kubectl penstock where` and `dlq`: the same commands as on a laptop, run in a pod that has the log at hand.

A lane's pod has the pipeline's file, the log's credentials and a way to the brokers; a laptop seldom has any of them.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Final

import click

from penstock.cli import exits
from penstock.cli.kubectl import cluster as clusters

_FILE: Final = "/etc/penstock/pipeline.yaml"
_SECRETS: Final = "/var/run/penstock/secrets"
_WHERE = """\b
Examples:
  kubectl penstock where -n web clicks id=a
  kubectl penstock where -n web clicks id=a --limit 1 -o json

It runs `penstock where` in a pod of a lane, for which you need the right to create pods/exec.
"""
_DLQ = """\b
Examples:
  kubectl penstock dlq -n web clicks analyse
  kubectl penstock dlq -n web clicks ls --category SinkRejected --since 2h
  kubectl penstock dlq -n web clicks show 3f9c2a71
  kubectl penstock dlq -n web clicks export letters.ndjson

It runs `penstock dlq` in a pod of a lane, for which you need the right to create pods/exec. To put many letters back, apply a
DeadLetterReplay: it goes on by itself when this terminal is closed.
"""
_PASSED = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@click.command(epilog=_WHERE, short_help="Say what became of an event.", context_settings=_PASSED)
@clusters.options
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True, metavar="FIELD=VALUE...")
def where(name: str, arguments: tuple[str, ...], cluster: clusters.Cluster) -> None:
    """Say where the events of the pipeline NAME with these values went, from its log and its dead letters."""
    raise SystemExit(_run(cluster, name, ("where", *arguments)))


@click.command(epilog=_DLQ, short_help="List, analyse and replay dead letters.", context_settings=_PASSED)
@clusters.options
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True, metavar="COMMAND [ARGUMENTS]...")
def dlq(name: str, arguments: tuple[str, ...], cluster: clusters.Cluster) -> None:
    """Run `penstock dlq COMMAND` over the dead letters of the pipeline NAME."""
    if arguments[0] == "export" and len(arguments) > 1 and arguments[1] != "-" and not arguments[1].startswith("-"):
        raise SystemExit(_export(cluster, name, pathlib.Path(arguments[1]), arguments[2:]))
    raise SystemExit(_run(cluster, name, ("dlq", *arguments)))


def _run(cluster: clusters.Cluster, name: str, arguments: tuple[str, ...]) -> int:
    return cluster.call("exec", *_into(cluster, name), *told(arguments))


def told(arguments: tuple[str, ...]) -> list[str]:
    """The command in the pod: `-f` and `--secrets` belong to the last word of it that is no argument."""
    words = 2 if arguments[0] == "dlq" else 1
    return ["penstock", *arguments[:words], "-f", _FILE, "--secrets", _SECRETS, *arguments[words:]]


def _export(cluster: clusters.Cluster, name: str, file: pathlib.Path, rest: tuple[str, ...]) -> int:
    """The file is made here and not in the pod, whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.absolute().parent, prefix=f".{file.name}.", delete=False) as target:
        made = pathlib.Path(target.name)
        try:
            code = cluster.into(target, "exec", *_into(cluster, name), *told(("dlq", "export", "-", *rest)))
            if code == 0:
                made.replace(file)
        finally:
            made.unlink(missing_ok=True)
    return code


def _into(cluster: clusters.Cluster, name: str) -> list[str]:
    """A pod of a lane that is ready, else one that runs at all."""
    cluster.pipeline(name)
    running = [one for one in cluster.pods(name) if one.get("status", {}).get("phase") == "Running"]
    lanes = [one for one in running if one["metadata"]["labels"].get(clusters.ROLE_LABEL) == "batcher"]
    if not lanes:
        raise exits.Unreachable(
            f"no pod of a lane of {name} runs, and only they have the log at hand", f"kubectl penstock status {name} says why"
        )
    chosen = next((one for one in lanes if _is_ready(one)), lanes[0])
    return [f"pod/{chosen['metadata']['name']}", "--container=batcher", "--"]


def _is_ready(pod: clusters.Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
