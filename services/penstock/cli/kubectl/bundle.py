"""`kubectl penstock support-bundle`: one file with all that helps to find a fault, and no secret in it.

What can't be had is told in the file itself instead of ending the command: a bundle is asked for when things are broken.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import io
import json
import pathlib
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
from google.protobuf import json_format

import penstock
from penstock.cli import control, exits
from penstock.cli.kubectl import cluster as clusters
from penstock.cli.kubectl import redaction, top
from penstock.v1 import control_pb2
from penstock_operator import names

_EPILOG = """\b
Examples:
  kubectl penstock support-bundle -n web clicks
  kubectl penstock support-bundle -n web clicks --to clicks.tar.gz --log-lines 20000

Secrets are not part of it. Values of the Secrets that the pipeline names are looked up, where you may, only to be taken out
wherever else they stand; so is what looks like a password or a token. Look into the file before you give it away: events that
pods have complained of may stand in their logs.

\b
Exit codes:
  0 written, also where parts could not be had (errors.txt says which) · 1 there is no such pipeline
"""
METRICS: Final = 9464
_KINDS: Final = "deployments,services,configmaps,poddisruptionbudgets,networkpolicies,jobs,pods"
_METRICS_SECONDS: Final = 10.0
_REFERENCES: Final = ("secretref", "secretkeyref")
"""How the members end that name a Secret, in lower case."""


class _Bundle:
    """Files by name, each cleaned before it is kept; and what could not be had."""

    def __init__(self, redactor: redaction.Redactor) -> None:
        self._redactor = redactor
        self.files: dict[str, str] = {}
        self.errors: list[str] = []

    def add(self, name: str, made: Callable[[], str]) -> None:
        """What can't be made is noted."""
        try:
            self.files[name] = self._redactor.cleaned(made())
        except (click.ClickException, control.NotRunningError, OSError, ValueError) as error:
            said = error.message if isinstance(error, click.ClickException) else str(error)
            self.errors.append(f"{name}: {self._redactor.cleaned(said)}")

    def write(self, target: pathlib.Path, folder: str, now: datetime.datetime) -> None:
        """One gzipped tar; readable by its owner alone."""
        files = {**self.files, "errors.txt": "\n".join(self.errors) + "\n"}
        target.touch(mode=0o600)
        with tarfile.open(target, "w:gz") as archive:
            for name, text in sorted(files.items()):
                raw = text.encode(errors="replace")
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size, info.mtime, info.mode = len(raw), int(now.timestamp()), 0o600
                archive.addfile(info, io.BytesIO(raw))


@click.command("support-bundle", epilog=_EPILOG, short_help="One file with all that helps to find a fault.")
@click.argument("name")
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="[default: NAME-TIME.tar.gz]")
@click.option("--log-lines", type=click.IntRange(1, 1_000_000), default=5_000, show_default=True, help="Of each container.")
@clusters.options
def support_bundle(name: str, target: pathlib.Path | None, log_lines: int, cluster: clusters.Cluster) -> None:
    """Collect the object of the pipeline NAME, what was made of it, Events, logs, metrics and what its pods say."""
    pipeline, now = cluster.pipeline(name), datetime.datetime.now(datetime.UTC)
    replays, unread = _replays(cluster, name)
    known, denied = _known_values(cluster, pipeline, replays)
    bundle = _Bundle(redaction.Redactor(known))
    bundle.errors += [*unread, *denied]
    _objects(bundle, cluster, name, pipeline, replays)
    pods = _pods(cluster, name, bundle)
    for pod in pods:
        _logs(bundle, cluster, pod, log_lines)
        _metrics(bundle, cluster, pod)
    _statuses(bundle, cluster, name, pods)
    path = target or pathlib.Path(f"{name}-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    bundle.write(path, f"{name}-support", now)
    click.echo(f"{path}: {len(bundle.files)} files" + (f", {len(bundle.errors)} could not be had" if bundle.errors else ""))


def _replays(cluster: clusters.Cluster, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        found = cluster.listed(clusters.REPLAYS)
    except exits.Invalid as error:
        return [], [f"replays.json: {error.message}"]
    return [one for one in found if one["spec"]["pipelineRef"]["name"] == name], []


def _known_values(
    cluster: clusters.Cluster, pipeline: clusters.Object, replays: list[dict[str, Any]]
) -> tuple[list[str], list[str]]:
    """Values of the Secrets that are named, and of the token; and those that could not be read."""
    named = {names.token(pipeline["metadata"]["name"]), *_references(pipeline["spec"])}
    for one in replays:
        named |= set(_references(one["spec"]))
    values, denied = [], []
    for name in sorted(named):
        try:
            data = cluster.get("secret", name).get("data") or {}
        except exits.Invalid as error:
            denied.append(f"Secret {name}, whose values would have been looked for to be taken out: {error.message}")
            continue
        for encoded in data.values():
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                values.append(base64.b64decode(encoded).decode())
    return values, denied


def _references(part: Any) -> Iterator[str]:
    """Names of Secrets anywhere in a spec."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key.lower().endswith(_REFERENCES) and isinstance(value, dict) and value.get("name"):
                yield str(value["name"])
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _objects(
    bundle: _Bundle, cluster: clusters.Cluster, name: str, pipeline: clusters.Object, replays: list[dict[str, Any]]
) -> None:
    label = f"{clusters.PIPELINE_LABEL}={name}"
    bundle.add("versions.txt", lambda: f"kubectl-penstock {penstock.__version__}\n{cluster.run('version')}")
    bundle.add("pipeline.json", lambda: json.dumps(pipeline, indent=1))
    bundle.add("replays.json", lambda: json.dumps(replays, indent=1))
    bundle.add("children.json", lambda: json.dumps(cluster.listed(_KINDS, label), indent=1))
    bundle.add("events.txt", lambda: cluster.run("get", "events.events.k8s.io", "--sort-by=.metadata.creationTimestamp"))


def _pods(cluster: clusters.Cluster, name: str, bundle: _Bundle) -> list[dict[str, Any]]:
    try:
        return cluster.listed("pods", f"{clusters.PIPELINE_LABEL}={name}")
    except exits.Invalid as error:
        bundle.errors.append(f"pods: {error.message}")
        return []


def _logs(bundle: _Bundle, cluster: clusters.Cluster, pod: clusters.Object, lines: int) -> None:
    """Of now, and of the container before where one ended."""
    name = pod["metadata"]["name"]
    asked = ("logs", f"pod/{name}", "--all-containers", f"--tail={lines}", "--timestamps")
    bundle.add(f"logs/{name}.log", lambda: cluster.run(*asked))
    if any(one.get("restartCount") for one in pod.get("status", {}).get("containerStatuses", ())):
        bundle.add(f"logs/{name}.previous.log", lambda: cluster.run(*asked, "--previous"))


def _metrics(bundle: _Bundle, cluster: clusters.Cluster, pod: clusters.Object) -> None:
    """Replays have none."""
    if pod.get("status", {}).get("phase") != "Running" or pod["metadata"]["labels"].get(clusters.ROLE_LABEL) == "replay":
        return
    name = pod["metadata"]["name"]

    def read() -> str:
        with (
            cluster.forwarded(name, METRICS) as port,
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_METRICS_SECONDS) as answer,
        ):
            return bytes(answer.read()).decode()

    bundle.add(f"metrics/{name}.txt", read)


def _statuses(bundle: _Bundle, cluster: clusters.Cluster, name: str, pods: list[dict[str, Any]]) -> None:
    """What each pod says of itself, where its token may be read."""
    for pod in pods:
        if pod.get("status", {}).get("phase") == "Running":
            one = pod["metadata"]["name"]
            bundle.add(f"status/{one}.json", lambda one=one: _status(cluster, name, one))  # type: ignore[misc]


def _status(cluster: clusters.Cluster, name: str, pod: str) -> str:
    with top.asked(cluster, name, [pod]) as remotes, control.connected(remotes[pod]) as stub:
        said = stub.Status(control_pb2.StatusRequest(), timeout=control.TIMEOUT_SECONDS)
        return str(json_format.MessageToJson(said, always_print_fields_with_no_presence=True))
