"""What `kubectl penstock status`, `explain` and `purge` make of objects, without a cluster."""

from __future__ import annotations

import datetime
from typing import Any

from tests.unit.operator import cluster as examples
from tests.unit.operator import driving, replays

from penstock.cli.kubectl import explain, purge, status
from penstock_operator import snapshot
from penstock_operator.reporting import status as reporting

NOW = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)


def _pipeline(**lane: Any) -> dict[str, Any]:
    """With the status that the operator itself writes."""
    there = driving.converged()
    told = snapshot.LaneReport(sink="warehouse", state="Running", rows=18_400, lag_events=1_203, outstanding=18, **lane)
    report = snapshot.PodReport(pod="b", role="batcher", log_id="7f", log_bytes=1, lanes=(told,))
    made = reporting.status(there.snapshot(report), examples.SETTINGS, snapshot.Observations(now=NOW))
    return {**there.pipeline, "status": made}


def _text(pipeline: dict[str, Any], now: datetime.datetime = NOW, **more: Any) -> str:
    return "\n".join(status.lines(pipeline, more.get("pods", []), more.get("replays", []), now))


def test_a_status_shows_lanes_pods_and_replays() -> None:
    """Catches a column that reads a member the operator does not write, and a pod whose trouble is not shown."""
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = {
        "metadata": {"name": "clicks-ingest-x", "labels": {"penstock.dev/role": "ingest"}},
        "status": {"phase": "Pending", "containerStatuses": [{"restartCount": 3, "state": waiting}]},
    }
    there = replays.Cluster(replays.replay())
    there.settle()
    said = _text(_pipeline(oldest_unread_seconds=840.0), pods=[pod], replays=list(there.replays.values()))
    [lane] = [line for line in said.splitlines() if line.startswith("warehouse")]
    for part in ("Running", "14m 00s", "1,203", "Closed", "18,400", " 18 "):
        assert part in lane
    [shown] = [line for line in said.splitlines() if line.startswith("clicks-ingest-x")]
    assert "ImagePullBackOff no such image" in shown
    assert " 3 " in shown
    assert any(line.startswith("again") and "Running" in line for line in said.splitlines())


def test_a_status_that_is_old_says_so() -> None:
    """Catches figures of yesterday that look like those of now."""
    made = _pipeline()
    assert "has not looked" not in _text(made, NOW + datetime.timedelta(minutes=10))
    assert "has not looked for 2h 00m" in _text(made, NOW + datetime.timedelta(hours=2))
    assert "has not looked at it yet" in _text({**made, "status": {}})
    assert "the last edit was not looked at yet" in _text({**made, "metadata": {**made["metadata"], "generation": 9}})


def test_a_lane_is_explained_also_where_nothing_was_decided() -> None:
    """Catches a reason that is left out, and one that is made up."""
    made = _pipeline(latency_p99_seconds=0.7)
    [lane] = made["status"]["lanes"]
    said = "\n".join(explain.lines(lane, made))
    assert "batch 18,400 rows" in said
    assert "p99 seen 700 ms" in said
    assert "nothing was decided: mode Auto" in said
    lane["batching"] |= {"reason": "ArrivalRateRose", "message": "5,000 → 18,400 rows", "decidedAt": "2026-01-31T07:00:00Z"}
    assert "because          5,000 → 18,400 rows at 2026-01-31T07:00:00Z" in "\n".join(explain.lines(lane, made))


def test_a_purge_runs_with_what_a_lane_has_and_as_little_as_it_may() -> None:
    """Catches a Job that the restricted standard refuses, one without the log's credentials, and one that outlives its object."""
    there = driving.converged()
    lane = there.objects["Deployment", "clicks--warehouse-batcher"]
    made = purge.manifest(there.pipeline, lane)
    pod = made["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [own] = lane["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--yes", "clicks"]
    assert [container[name] for name in ("image", "securityContext", "volumeMounts")] == [
        own[name] for name in ("image", "securityContext", "volumeMounts")
    ]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["volumes"] == lane["spec"]["template"]["spec"]["volumes"]
    assert "livenessProbe" not in container
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-clicks"
    assert "penstock.dev/pipeline" not in made["spec"]["template"]["metadata"]["labels"]
