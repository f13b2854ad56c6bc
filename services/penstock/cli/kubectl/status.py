"""`kubectl penstock status`: what the operator says of a pipeline, how its pods are, and its replays."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any, Final

import click

from penstock.cli import exits
from penstock.cli.kubectl import cluster as clusters
from penstock.cli.showing import status_view

_EPILOG = """\b
Examples:
  kubectl penstock status -n web
  kubectl penstock status -n web clicks
  kubectl penstock status -n web clicks -o json | jq .conditions

\b
Exit codes:
  0 shown · 1 it is not ready, or waits for a person, or there is none of this name · 3 the cluster does not answer
"""
STALE_SECONDS: Final = 900.0
"""The operator gives a sign of life every ten minutes."""


@click.command(epilog=_EPILOG, short_help="How a pipeline is, its pods and its replays.")
@click.argument("name", default="")
@clusters.options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: the object's status.")
def status(name: str, cluster: clusters.Cluster, output: str) -> None:
    """Show the pipeline NAME, or a line for each that there is."""
    if not name:
        raise SystemExit(cluster.call("get", clusters.PIPELINES))
    found = cluster.pipeline(name)
    if output == "json":
        click.echo(json.dumps(found.get("status", {}), indent=2))
    else:
        replays = [one for one in cluster.listed(clusters.REPLAYS) if one["spec"]["pipelineRef"]["name"] == name]
        for line in lines(found, cluster.pods(name), replays, datetime.datetime.now(datetime.UTC)):
            click.echo(line)
    raise SystemExit(0 if _is_well(found) else exits.INVALID)


def lines(
    pipeline: clusters.Object, pods: list[dict[str, Any]], replays: list[dict[str, Any]], now: datetime.datetime
) -> Iterator[str]:
    """The text."""
    told, metadata = pipeline.get("status", {}), pipeline["metadata"]
    display = told.get("display", {})
    yield f"{metadata['namespace']}/{metadata['name']}   {display.get('state', 'not looked at yet')}   {told.get('message', '')}"
    if late := away(told, now):
        yield late
    if told and told.get("observedGeneration") != metadata.get("generation"):
        yield "the last edit was not looked at yet"
    for one in told.get("conditions", ()):
        yield f"  {one['type']:18} {one['status']:8} {one['reason']:20} {one['message']}".rstrip()
    yield from _table(_LANES, [_lane(one) for one in told.get("lanes", ())])
    yield from _table(_PODS, [_pod(one) for one in pods])
    yield from _table(_REPLAYS, [_replay(one) for one in replays])


def away(told: clusters.Object, now: datetime.datetime) -> str:
    """That the operator does not look any more; empty while it does."""
    if not told.get("observedAt"):
        return "the operator has not looked at it yet: is it running, and does it look after this namespace?"
    seconds = (now - datetime.datetime.fromisoformat(told["observedAt"])).total_seconds()
    if seconds < STALE_SECONDS:
        return ""
    return (
        f"the operator has not looked for {status_view.duration(seconds)}, so this is old: it is away, or cut off; "
        "the pipeline goes on without it"
    )


_LANES: Final = ("LANE", "STATE", "DELIVERY", "LAG", "UNREAD", "CIRCUIT", "BATCH", "DEAD", "WRITTEN")
_PODS: Final = ("POD", "ROLE", "READY", "RESTARTS", "WHY NOT")
_REPLAYS: Final = ("REPLAY", "ACTION", "STATE", "SELECTED", "REPLAYED", "LANDED", "FAILED")


def _lane(one: clusters.Object) -> tuple[str, ...]:
    lag, batching, ledger = one.get("lag", {}), one.get("batching", {}), one.get("ledger", {})
    return (
        one["sink"],
        one.get("state", "-"),
        one.get("delivery", {}).get("mode", "-") or "-",
        status_view.duration(lag.get("oldestUnreadMilliseconds", 0) / 1000),
        f"{lag.get('events', 0):,}",
        one.get("circuit", {}).get("state", "-"),
        f"{batching.get('rows', 0):,}",
        f"{one.get('deadLetters', {}).get('outstanding', 0):,}",
        f"{ledger.get('rows', {}).get('written', 0):,}",
    )


def _pod(one: clusters.Object) -> tuple[str, ...]:
    told = one.get("status", {})
    containers = told.get("containerStatuses", ())
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in told.get("conditions", ()))
    waiting = [each["state"]["waiting"] for each in containers if each.get("state", {}).get("waiting")]
    why = " ".join(str(waiting[0].get(key, "")) for key in ("reason", "message")).strip() if waiting else ""
    labels = one["metadata"].get("labels", {})
    role = " ".join(filter(None, (labels.get(clusters.ROLE_LABEL, ""), labels.get(clusters.SINK_LABEL, ""))))
    restarts = sum(int(each.get("restartCount", 0)) for each in containers)
    return one["metadata"]["name"], role, "yes" if ready else "no", str(restarts), why or ("" if ready else told.get("phase", ""))


def _replay(one: clusters.Object) -> tuple[str, ...]:
    told = one.get("status", {})
    reason = next((each["reason"] for each in told.get("conditions", ()) if each["type"] == "Complete"), "-")
    counts = (f"{told.get(name, 0):,}" for name in ("selected", "replayed", "landed", "failed"))
    return one["metadata"]["name"], one["spec"].get("action", "DryRun"), reason, *counts


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """With columns as wide as they must be; nothing where there are no rows."""
    if not rows:
        return
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    yield ""
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _is_well(pipeline: clusters.Object) -> bool:
    holds = {one["type"]: one["status"] for one in pipeline.get("status", {}).get("conditions", ())}
    return holds.get("Ready") == "True" and holds.get("Stalled") != "True"
