"""A replay as a Job's pod does it: what it waits for, what ends it, and what it says meanwhile."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Callable

import grpc
import pytest

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.core import runs
from penstock.ingest import secret
from penstock.log import port
from penstock.machine import replay_control, replay_runs, secrets, strays
from penstock.v1 import control_pb2

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks, namespace: web}
spec: {sinks: [{name: warehouse, type: DuckDB, duckDB: {path: a, table: b}}]}
"""
REPLAY = """
apiVersion: penstock.dev/v1alpha1
kind: DeadLetterReplay
metadata: {name: again, namespace: web}
spec: {pipelineRef: {name: clicks}, action: Replay, eventsPerSecond: 7}
"""
NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


class Opening:
    """Fails in these ways, one after the other."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.waited: list[float] = []
        self.messages: list[str] = []
        self.run: replay_runs.ReplayRun | None = None

    async def __call__(self) -> port.EventLog:
        raise self.failures.pop(0)

    async def sleep(self, seconds: float) -> None:
        assert self.run is not None
        self.waited.append(seconds)
        self.messages.append(self.run.report.message)


def made(opening: Opening) -> replay_runs.ReplayRun:
    [told], [pipeline] = (load.read(text.encode()) for text in (REPLAY, PIPELINE))
    assert isinstance(told.object, api_replay.DeadLetterReplay)
    assert isinstance(pipeline.object, api_pipeline.BatchPipeline)
    known = secrets.SecretStore(pathlib.Path(), {}, ())
    opening.run = replay_runs.ReplayRun(told.object, NOON, pipeline.object, known, opening, sleep=opening.sleep)
    return opening.run


async def test_an_outage_is_waited_for_and_said_and_what_can_not_be_ends_it() -> None:
    """Catches a Job whose pods die one after the other while brokers are away, and one that waits for what will never be."""
    missing = strays.StraysError("the secret is missing")
    missing.__cause__ = secret.SecretError("secret")
    opening = Opening(port.LogUnavailableError("no broker"), missing, OSError("no way"), strays.StraysError("no such sink"))
    last = await made(opening).go()
    assert (last.phase, last.message) == (runs.Phase.REFUSED, "no such sink")
    assert last.finished_at > 0
    assert ["no broker" in opening.messages[0], "secret" in opening.messages[1], "no way" in opening.messages[2]] == [True] * 3
    assert opening.waited == sorted(opening.waited)
    assert opening.waited[0] < opening.waited[-1] <= 30


class _Context:
    async def abort(self, code: grpc.StatusCode, detail: str) -> None:
        raise ValueError(f"{code.name}: {detail}")


@pytest.mark.parametrize(("rate", "taken"), [(9, True), (1_000_000, True), (0, False), (2_000_000, False)], ids=str)
async def test_it_is_asked_how_far_it_is_and_told_how_fast_it_may_go(rate: int, taken: bool) -> None:
    """Catches a rate that is answered and not kept, and one that would stop it for good."""
    run = made(Opening())
    servicer = replay_control.ReplayServicer(run, run._pipeline)  # type: ignore[abstract]
    context: Callable[..., object] = _Context()  # type: ignore[assignment]
    request = control_pb2.SteerReplayRequest(events_per_second=rate)
    if taken:
        await servicer.SteerReplay(request, context)  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match="INVALID_ARGUMENT"):
            await servicer.SteerReplay(request, context)  # type: ignore[arg-type]
    said = await servicer.Status(control_pb2.StatusRequest(), context)  # type: ignore[arg-type]
    report = runs.decode(said.replay)
    assert (said.pipeline, said.lifecycle) == ("clicks", "Replaying")
    assert report.events_per_second == (rate if taken else 7)
    assert report.phase is runs.Phase.WAITING
