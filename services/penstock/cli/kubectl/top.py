"""`kubectl penstock top`: a pipeline's pods asked over their control ports, and their answers added up."""

from __future__ import annotations

import base64
import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, Final

import click

from penstock.cli import control, exits
from penstock.cli import top as own
from penstock.cli.kubectl import cluster as clusters
from penstock.machine.peers import gate
from penstock_operator import names

_EPILOG = """\b
Examples:
  kubectl penstock top -n web clicks
  kubectl penstock top -n web clicks --once
  kubectl penstock top -n web clicks -o json | jq .lanes

You need the rights to get the Secret NAME-token and to create pods/portforward. `kubectl get bp` and `kubectl penstock status`
need neither.

\b
Exit codes:
  0 shown · 1 something is lost, unexplained or halted (--once, -o json), or a right is missing · 3 a pod does not answer
"""
PORT: Final = 9465


@click.command(epilog=_EPILOG, short_help="Watch a pipeline live, asking its pods.")
@click.argument("name")
@clusters.options
@click.option("--once", is_flag=True, help="Print one picture and exit.")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.01, 60), help="Seconds between pictures.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one status object.")
def top(name: str, cluster: clusters.Cluster, once: bool, every: float, output: str) -> None:
    """Show rate, lag, batches, circuit, ledger and dead letters of the pipeline NAME."""
    cluster.pipeline(name)
    with asked(cluster, name, [one["metadata"]["name"] for one in running(cluster, name)]) as remotes:
        own.show(functools.partial(own.together_status, list(remotes.values())), once=once, every=every, output=output)


def running(cluster: clusters.Cluster, name: str) -> list[dict[str, Any]]:
    """Its pods that run. Raises Unreachable where there are none."""
    found = [one for one in cluster.pods(name) if one.get("status", {}).get("phase") == "Running"]
    if not found:
        raise exits.Unreachable(f"no pod of {name} runs", f"kubectl penstock status {name} says why")
    return found


@contextlib.contextmanager
def asked(cluster: clusters.Cluster, name: str, pods: list[str]) -> Iterator[dict[str, control.Remote]]:
    """The control port of each pod, and what it is shown. The token is in a file of this user alone for that long."""
    shown = token(cluster, name)
    with tempfile.TemporaryDirectory(prefix="kubectl-penstock-") as folder, contextlib.ExitStack() as stack:
        path = pathlib.Path(folder) / "token"
        path.touch(mode=0o600)
        path.write_text(shown)
        peers = gate.Peers(gate.Files(token=path)).load()
        yield {
            pod: control.Remote(address=f"127.0.0.1:{stack.enter_context(cluster.forwarded(pod, PORT))}", peers=peers)
            for pod in pods
        }


def token(cluster: clusters.Cluster, name: str) -> str:
    """By which the pods of the pipeline know who may ask. Raises RightError, Invalid."""
    secret = names.token(name)
    try:
        found = cluster.get("secret", secret)
    except clusters.MissingError as error:
        raise exits.Invalid(
            f"there is no Secret {secret} yet, which the operator makes", f"kubectl penstock status {name} says why"
        ) from error
    except clusters.RightError as error:
        raise clusters.RightError(
            f"you may not read the Secret {secret}, and pods answer nobody without what it holds",
            "ask for `get` on that Secret; kubectl penstock status needs no such right",
        ) from error
    return base64.b64decode(found["data"]["token"]).decode()
