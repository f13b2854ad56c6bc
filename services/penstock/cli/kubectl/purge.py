"""`kubectl penstock purge`: a pipeline taken away with its topics. The one order that loses data, so the name is said twice.

Brokers seldom answer a laptop, so `penstock purge` runs as a Job beside the pipeline, made from a lane's own pod template: the
same image, file, credentials and rights.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any, Final

import click

from penstock.cli import exits
from penstock.cli.kubectl import cluster as clusters
from penstock_operator import names

_EPILOG = """\b
Examples:
  kubectl penstock purge -n web clicks
  kubectl penstock purge -n web clicks --yes clicks

The pipeline is stopped, its topics (NAMESPACE.NAME.*) are deleted by a Job in its namespace, and then the object is. Unread
events and dead letters are gone for good; what has landed in stores stays. You need the rights to patch and delete the
pipeline, and to create Jobs and read their pods' logs.

\b
Exit codes:
  0 done · 1 the name was not said once more, or a right is missing · 3 it did not end in time, or the brokers do not answer
"""
_LOOK_SECONDS: Final = 1.0


@click.command(epilog=_EPILOG, short_help="Take a pipeline away with its topics and all they hold.")
@click.argument("name")
@click.option("--yes", metavar="NAME", help="The name once more, instead of typing it.")
@click.option("--timeout", type=click.FloatRange(1.0), default=300.0, show_default=True, help="Seconds for each step.")
@clusters.options
def purge(name: str, yes: str | None, timeout: float, cluster: clusters.Cluster) -> None:
    """Stop the pipeline NAME, delete its topics, delete its object."""
    pipeline = cluster.pipeline(name)
    what = f"the topics {pipeline['metadata']['namespace']}.{name}.* go, with every unread event and dead letter in them"
    clusters.typed(name, yes, what)
    job = manifest(pipeline, _lane(cluster, pipeline))
    cluster.patch(clusters.PIPELINES, name, {"spec": {"lifecycle": "Stopped"}})
    click.echo(f"{name} is being stopped", err=True)
    _until(lambda: not _running(cluster, name), timeout, f"pods of {name} still run; kubectl penstock status {name} says more")
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(job))
    _until(lambda: _over(cluster, job), timeout, f"the Job {job['metadata']['name']} does not end")
    click.echo(cluster.run("logs", f"job/{job['metadata']['name']}").rstrip())
    if _over(cluster, job) != "Complete":
        raise exits.Invalid("its topics could not be deleted, so the object is kept, stopped", "mend that, and say it again")
    cluster.run("delete", clusters.PIPELINES, name)
    click.echo(f"{name} is deleted")


def _running(cluster: clusters.Cluster, name: str) -> list[dict[str, Any]]:
    """Its pods that have not ended, also those of replays: any of them could make a topic again."""
    found = cluster.listed("pods", f"{clusters.PIPELINE_LABEL}={name}")
    return [one for one in found if one.get("status", {}).get("phase") not in ("Succeeded", "Failed")]


def _lane(cluster: clusters.Cluster, pipeline: clusters.Object) -> dict[str, Any]:
    """The Deployment of a lane. Raises Invalid where there is none."""
    name = pipeline["metadata"]["name"]
    found = cluster.listed("deployments", f"{clusters.PIPELINE_LABEL}={name},{clusters.ROLE_LABEL}=batcher")
    if not found:
        raise exits.Invalid(
            f"{name} was never accepted, so it has no topics that a Job could be told of",
            f"delete the object; if it ran before, delete {pipeline['metadata']['namespace']}.{name}.* at the brokers",
        )
    return found[0]


def manifest(pipeline: clusters.Object, lane: clusters.Object) -> dict[str, Any]:
    """The Job. It goes with the pipeline's object."""
    metadata, template = pipeline["metadata"], copy.deepcopy(lane["spec"]["template"]["spec"])
    name = metadata["name"]
    [own] = template["containers"]
    kept = ("image", "imagePullPolicy", "securityContext", "volumeMounts", "resources")
    command = ["purge", "-f", "/etc/penstock/pipeline.yaml", "--secrets", "/var/run/penstock/secrets", "--yes", name]
    container = {"name": "purge", "args": command, **{key: own[key] for key in kept if key in own}}
    template |= {"containers": [container], "restartPolicy": "Never"}
    template.pop("topologySpreadConstraints", None)
    labels = {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/component": "purge"}
    owner = {"apiVersion": pipeline["apiVersion"], "kind": pipeline["kind"], "name": name, "uid": metadata["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.replay(name, "purge"),
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels}, "spec": template},
        },
    }


def _over(cluster: clusters.Cluster, job: clusters.Object) -> str:
    """Complete or Failed; empty while it is neither."""
    told = cluster.get("job", job["metadata"]["name"]).get("status", {}).get("conditions", ())
    return next((one["type"] for one in told if one["type"] in ("Complete", "Failed") and one["status"] == "True"), "")


def _until(look: Callable[[], object], timeout: float, what: str) -> None:
    """Raises Unreachable when the time is up."""
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() > deadline:
            raise exits.Unreachable(f"not after {timeout:.0f} s: {what}", "say it again to go on from there")
        time.sleep(_LOOK_SECONDS)
