"""`plan` for the replays of one pipeline. Level-triggered: the same situation gives the same plan, a settled one none."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from penstock.api.model import pipeline as api_pipeline
from penstock_operator import settings, snapshot
from penstock_operator.actions import Apply, Delete
from penstock_operator.planning import difference
from penstock_operator.replaying import actions, manifests, situation, standing
from penstock_operator.reporting import times


def plan(here: situation.Situation, told: settings.Settings) -> list[actions.Action]:
    """What to do, in this order: whoever must stop goes first."""
    found = standing.all_of(here)
    return [
        *(action for one in found for action in _stopped(one)),
        *(action for one in found if one.state is standing.State.GOING for action in _going(one, here, told)),
        *(action for one in found for action in _expired(one, here.now)),
    ]


def _stopped(one: standing.Standing) -> Iterator[actions.Action]:
    """Held, in trouble, or not its turn: no pod. The Job of a run that ended short goes, so that the next one is a new one."""
    if one.job is None or one.state not in (standing.State.HELD, standing.State.TROUBLED, standing.State.WAITING):
        return
    name, uid = str(one.job["metadata"]["name"]), str(one.job["metadata"]["uid"])
    if one.job["metadata"].get("deletionTimestamp"):
        return
    if situation.is_over(one.job):
        if one.state is standing.State.HELD:
            yield Delete(api_version=situation.JOB[0], kind=situation.JOB[1], name=name, uid=uid)
    elif not situation.is_held(one.job):
        yield actions.Hold(job=name, uid=uid, held=True)


def _going(one: standing.Standing, here: situation.Situation, told: settings.Settings) -> Iterator[actions.Action]:
    *support, job = manifests.all_of(one, told)
    for manifest in support:
        there = here.child(one.replay, manifest["kind"], manifest["metadata"]["name"])
        if there is None or not difference.says(there, manifest):
            yield Apply(manifest=manifest, ours=there is not None)
    if one.job is None:
        yield Apply(manifest=job, ours=False)
    elif situation.is_held(one.job):
        yield actions.Hold(job=str(one.job["metadata"]["name"]), uid=str(one.job["metadata"]["uid"]), held=False)
    elif said := here.said_by(one.job):
        asked = int(one.replay["spec"].get("eventsPerSecond", said.report.events_per_second))
        if not said.report.is_final and said.report.events_per_second != asked:
            yield actions.Steer(pod=said.pod, address=said.address, events_per_second=asked)


def _expired(one: standing.Standing, now: datetime.datetime) -> Iterator[Delete]:
    """An object that asked for it goes some time after its end was told."""
    left = seconds_left(one.replay, now)
    if one.is_told and left is not None and left <= 0:
        metadata = one.replay["metadata"]
        yield Delete(
            api_version=api_pipeline.API_VERSION, kind=situation.KIND, name=str(metadata["name"]), uid=str(metadata["uid"])
        )


def seconds_left(replay: snapshot.Manifest, now: datetime.datetime) -> float | None:
    """Until a replay that has ended is taken away; None where it stays, or goes on."""
    after = replay["spec"].get("ttlSecondsAfterFinished")
    ended = times.moment((replay.get("status") or {}).get("finishedAt"))
    if after is None or ended is None:
        return None
    return float(after) - (now - ended).total_seconds()
