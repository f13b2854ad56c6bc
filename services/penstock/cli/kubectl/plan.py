"""`kubectl penstock plan`: what an edit would do, before it is applied.

The cluster itself checks the object (a server-side dry run, which stores nothing), the SQL is compiled here, and the operator's
planner says the rest over the live objects.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from penstock.api.model import log as api_log
from penstock.cli import exits, validate
from penstock.cli.kubectl import cluster as clusters
from penstock.cli.kubectl import rehearsal
from penstock.core import errors
from penstock_operator import revision, settings, snapshot

_EPILOG = """\b
Examples:
  kubectl penstock plan -n web -f pipeline.yaml

Nothing is changed. Images are those that run, so a new release of the operator is not part of the plan.

\b
Exit codes:
  0 the edit would be taken · 1 it would be refused · 3 the cluster does not answer
"""
_KINDS: Final = "deployments,services,configmaps,poddisruptionbudgets,networkpolicies"
_UNKNOWN: Final = "the image of the operator's settings"
_DEFAULT_LOG: Final = "the-cluster-s-default-log:9092"


@click.command(epilog=_EPILOG, short_help="What an edit would do, before it is applied.")
@click.option(
    "-f",
    "--filename",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=pathlib.Path),
    help="The BatchPipeline as it would be applied; - is the standard input.",
)
@clusters.options
def plan(file: pathlib.Path, cluster: clusters.Cluster) -> None:
    """Say what applying FILE would do, and why."""
    text: str = sys.stdin.read() if str(file) == "-" else file.read_text()
    asked = json.loads(cluster.run("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=text))
    if asked.get("kind") != "BatchPipeline":
        raise exits.Invalid(f"{file} holds a {asked.get('kind')}", "give one BatchPipeline")
    live = _live(cluster, asked)
    found = rehearsal.rehearse(live, _settings(live))
    for line in lines(asked, found, needs_default=_needs_default(live)):
        click.echo(line)
    if found.problems:
        raise SystemExit(exits.INVALID)


def _live(cluster: clusters.Cluster, asked: dict[str, Any]) -> snapshot.Snapshot:
    """The object as it would be, beside what is there of it now."""
    metadata = asked["metadata"]
    asked = {**asked, "metadata": {**metadata, "uid": metadata.get("uid", "new"), "generation": metadata.get("generation", 1)}}
    here = clusters.Cluster(flags=cluster.flags, namespace=metadata["namespace"])
    label = f"{clusters.PIPELINE_LABEL}={metadata['name']},{clusters.ROLE_LABEL}!=replay"
    return snapshot.Snapshot(
        pipeline=asked,
        children=tuple(here.listed(_KINDS, label)),
        pods=tuple(here.pods(metadata["name"])),
        sql=tuple(_sql(asked)),
    )


def _sql(asked: dict[str, Any]) -> Iterator[errors.Problem]:
    """What the operator's compiler would find; rules that need the log that is chosen are the planner's."""
    reduced = revision.reduced(asked, None)
    yield from validate.judge(revision.as_text(reduced).encode(), "").problems


def _settings(live: snapshot.Snapshot) -> settings.Settings:
    """Images as they run; a log where the object names none and none was chosen yet."""
    images = dict.fromkeys(settings.ROLES, _UNKNOWN)
    for one in live.children:
        if one["kind"] == "Deployment":
            role = one["metadata"]["labels"].get(clusters.ROLE_LABEL, "")
            images[role] = one["spec"]["template"]["spec"]["containers"][0]["image"]
    secrets = [
        each["name"]
        for one in live.children
        if one["kind"] == "Deployment"
        for each in one["spec"]["template"]["spec"].get("imagePullSecrets", ())
    ]
    kafka = {"bootstrapServers": [_DEFAULT_LOG]}
    default = api_log.Log.model_validate_json(json.dumps({"type": "Kafka", "kafka": kafka}))
    return settings.Settings(
        images=images,
        image_pull_secrets=tuple(dict.fromkeys(secrets)),
        operator_namespace=_operator_namespace(live),
        default_log=default,
    )


def _operator_namespace(live: snapshot.Snapshot) -> str:
    """As the network policies that are there say it."""
    for one in live.children:
        if one["kind"] == "NetworkPolicy":
            for rule in one["spec"].get("ingress", ()):
                for who in rule.get("from", ()):
                    if name := who.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name"):
                        return str(name)
    return settings.OWN_NAMESPACE


def _needs_default(live: snapshot.Snapshot) -> bool:
    spec = live.pipeline["spec"]
    return not live.children and not (spec.get("log") or {}).get("type") and spec.get("source", {}).get("type") != "Kafka"


def lines(asked: clusters.Object, found: rehearsal.Rehearsal, *, needs_default: bool) -> Iterator[str]:
    """The text."""
    name = f"{asked['metadata']['namespace']}/{asked['metadata']['name']}"
    if found.problems:
        yield f"{name}: this would be refused" + ("" if found.is_new else "; what runs now goes on as it is")
        for problem in found.problems:
            yield f"  {problem}".replace("\n", "\n  ")
        return
    if not found.steps:
        yield f"{name}: nothing would change"
        return
    yield f"{name}: {'a new pipeline' if found.is_new else 'this would be taken'}"
    if needs_default:
        yield "  its log would be the default one of the cluster, which only the operator knows"
    for notice in found.notices:
        yield f"  {notice}"
    for number, step in enumerate(found.steps, 1):
        yield f"  {number:2}. {step.what}{f': {step.why}' if step.why else ''}"
    if any(step.restarts for step in found.steps):
        yield "  a pod goes only when a new one is ready; a stage waits for the one before"
