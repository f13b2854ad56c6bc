"""`kubectl penstock pause`, `resume` and `delete`: what a pipeline is asked to do, written into its object."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from penstock.cli import exits
from penstock.cli.kubectl import cluster as clusters

_PAUSE = """\b
Examples:
  kubectl penstock pause -n web clicks
  kubectl penstock pause -n web clicks --sink warehouse

It is written into spec.lifecycle, so it lasts, also over new pods. A tool that applies the object from elsewhere undoes it.
"""
_RESUME = """\b
Examples:
  kubectl penstock resume -n web clicks
"""
_DELETE = """\b
Examples:
  kubectl penstock delete -n web clicks --drain --yes clicks
  kubectl penstock delete -n web clicks --yes clicks

Deleting loses nothing: the log, its groups and the dead letters stay, and the same object applied again goes on at the same
place. With --drain the doors close first, and it waits until everything has landed.

\b
Exit codes:
  0 deleted · 1 the name was not said once more · 3 not drained in time: it goes on draining, and is not deleted
"""
_LOOK_SECONDS: Final = 1.0


def _held(name: str, sink: str, cluster: clusters.Cluster, lifecycle: str, said: str) -> None:
    found = cluster.pipeline(name)
    if sink:
        names = [one["name"] for one in found["spec"]["sinks"]]
        if sink not in names:
            raise exits.Invalid(f"{name} has no sink {sink}", f"it has {', '.join(names)}")
        at = f"/spec/sinks/{names.index(sink)}"
        test = {"op": "test", "path": f"{at}/name", "value": sink}
        cluster.patch(clusters.PIPELINES, name, [test, {"op": "add", "path": f"{at}/lifecycle", "value": lifecycle}], "json")
    else:
        cluster.patch(clusters.PIPELINES, name, {"spec": {"lifecycle": lifecycle}})
    click.echo(f"{name}{f', {sink}' if sink else ''}: {lifecycle} ({said})")


@click.command(epilog=_PAUSE, short_help="Hold the lanes; events are accepted meanwhile.")
@click.argument("name")
@click.option("--sink", default="", help="Only the lane of this sink.")
@clusters.options
def pause(name: str, sink: str, cluster: clusters.Cluster) -> None:
    """Hold the lanes of the pipeline NAME: nothing is read or written, and events wait in the log."""
    _held(name, sink, cluster, "Paused", "events are taken, and wait in the log")


@click.command(epilog=_RESUME, short_help="Let the lanes go on.")
@click.argument("name")
@click.option("--sink", default="", help="Only the lane of this sink.")
@clusters.options
def resume(name: str, sink: str, cluster: clusters.Cluster) -> None:
    """Let the lanes of the pipeline NAME go on."""
    _held(name, sink, cluster, "Running", "what has waited lands now")


@click.command(epilog=_DELETE, short_help="Take a pipeline away, with --drain once all has landed.")
@click.argument("name")
@click.option("--drain", is_flag=True, help="Close the doors first, and wait until everything has landed.")
@click.option("--timeout", type=click.FloatRange(0.0), default=600.0, show_default=True, help="Seconds to wait with --drain.")
@click.option("--yes", metavar="NAME", help="The name once more, instead of typing it.")
@clusters.options
def delete(name: str, drain: bool, timeout: float, yes: str | None, cluster: clusters.Cluster) -> None:
    """Delete the object of the pipeline NAME, and with it its pods."""
    cluster.pipeline(name)
    clusters.typed(name, yes, f"the pipeline {name} goes, its pods with it; its log and its dead letters stay")
    if drain:
        cluster.patch(clusters.PIPELINES, name, {"spec": {"lifecycle": "Draining"}})
        _until_drained(cluster, name, timeout)
    cluster.run("delete", clusters.PIPELINES, name)
    click.echo(f"{name} is deleted; its log and its dead letters stay")


def _until_drained(cluster: clusters.Cluster, name: str, timeout: float) -> None:
    """Raises Unreachable when the time is up."""
    deadline, said = time.monotonic() + timeout, ""
    while True:
        found = cluster.pipeline(name)
        told: dict[str, Any] = found.get("status", {})
        fresh = told.get("observedGeneration") == found["metadata"]["generation"]
        if fresh and told.get("display", {}).get("state") == "Drained":
            return
        unread = sum(one.get("lag", {}).get("events", 0) for one in told.get("lanes", ()))
        now = f"draining: {unread:,} events unread" if fresh else "draining: the operator has not looked yet"
        if now != said:
            click.echo(now, err=True)
            said = now
        if time.monotonic() > deadline:
            raise exits.Unreachable(
                f"not drained after {timeout:.0f} s: {told.get('message', '')}",
                "it goes on draining; say this again to wait on, or kubectl penstock resume to open the doors again",
            )
        time.sleep(_LOOK_SECONDS)
