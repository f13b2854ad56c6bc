"""`kubectl penstock explain`: the last decision about each lane, from the status."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import click

from penstock.cli import exits
from penstock.cli.kubectl import cluster as clusters
from penstock.cli.kubectl import status

_EPILOG = """\b
Examples:
  kubectl penstock explain -n web clicks
  kubectl penstock explain -n web clicks --sink warehouse

\b
Exit codes:
  0 shown · 1 there is no such pipeline or sink, or nothing is known of it yet · 3 the cluster does not answer
"""


@click.command(epilog=_EPILOG, short_help="Why each lane batches as it does.")
@click.argument("name")
@click.option("--sink", default="", help="Only the lane of this sink.")
@clusters.options
def explain(name: str, sink: str, cluster: clusters.Cluster) -> None:
    """Show, for each lane of the pipeline NAME, the sizes in force and why they were chosen."""
    found = cluster.pipeline(name)
    told = found.get("status", {})
    lanes = [one for one in told.get("lanes", ()) if sink in ("", one["sink"])]
    if not lanes:
        known = ", ".join(one["name"] for one in found["spec"]["sinks"])
        raise exits.Invalid(f"nothing is known of {f'the sink {sink}' if sink else 'its lanes'} yet", f"its sinks: {known}")
    if late := status.away(told, datetime.datetime.now(datetime.UTC)):
        click.echo(late)
    for one in lanes:
        for line in lines(one, found):
            click.echo(line)


def lines(lane: clusters.Object, pipeline: clusters.Object) -> Iterator[str]:
    """Of one lane."""
    batching, circuit, delivery = lane.get("batching", {}), lane.get("circuit", {}), lane.get("delivery", {})
    sizes = [
        f"batch {batching.get('rows', 0):,} rows",
        f"linger {batching.get('lingerMilliseconds', 0):,} ms",
        f"{batching.get('concurrency', 0)} in flight",
    ]
    if "predictedLatencyMilliseconds" in batching:
        sizes.append(f"p99 predicted {batching['predictedLatencyMilliseconds']:,} ms")
    sizes.append(f"p99 seen {batching.get('observedLatencyMilliseconds', 0):,} ms")
    yield f"{lane['sink']:16} {' · '.join(sizes)}"
    yield f"{'because':16} {_because(lane, pipeline)}"
    if model := batching.get("model"):
        yield (
            f"{'model':16} one write costs {model.get('perWriteMicroseconds', 0) / 1000:g} ms + "
            f"{model.get('perRowNanoseconds', 0) / 1000:g} µs per row ({model.get('samples', 0):,} writes)"
        )
    if delivery.get("mode"):
        yield f"{'delivery':16} {delivery['mode']}, {delivery.get('reason', '')}".rstrip(", ")
    if circuit.get("state") not in (None, "", "Closed"):
        yield f"{'circuit':16} {circuit['state']} since {circuit.get('since', '-')}: {circuit.get('lastFailure', '')}".rstrip(
            ": "
        )
    yield f"{'next':16} kubectl penstock top {pipeline['metadata']['name']}"


def _because(lane: clusters.Object, pipeline: clusters.Object) -> str:
    batching = lane.get("batching", {})
    if batching.get("message") or batching.get("reason"):
        at = f" at {batching['decidedAt']}" if batching.get("decidedAt") else ""
        return f"{batching.get('message') or batching['reason']}{at}"
    sink: clusters.Object = next((one for one in pipeline["spec"]["sinks"] if one["name"] == lane["sink"]), {})
    mode = sink.get("batching", {}).get("mode", "Auto")
    return f"nothing was decided: mode {mode}, and the figures of batching.static (or of the sink's type) are in force"
