"""Faults of the stores: stalled, refusing, rejecting a part, answering after the caller's patience."""

from __future__ import annotations

import time

from e2e.chaos import events, hook, stage
from e2e.checker import verdict

_REJECTED = 0.05


def _held(mood: hook.Mood, how: str) -> stage.Perform:
    """The HTTP sink is in this mood for a while; the other two must not feel it."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"the HTTP sink {how} for {told.scale.hold_seconds:g} s; the other lanes go on"
        with hook.Hook() as endpoint, told.site(text=events.pipeline(hook=endpoint.url, write_seconds=1), told=endpoint) as here:
            here.start()
            here.load()
            for _ in range(told.scale.rounds):
                here.go_on(100)
                endpoint.mood = mood
                before = here.landed() or {}
                time.sleep(told.scale.hold_seconds)
                here.until(lambda: _others_land(here.landed(), before) or None)  # noqa: B023 - called before the next round
                endpoint.mood = hook.Mood.TAKES
                told.times += 1
                here.recovered(time.monotonic())
            return here.judge()

    return perform


def _others_land(now: dict[str, int] | None, before: dict[str, int]) -> bool:
    return now is not None and all(now[sink] > before.get(sink, 0) for sink in now if sink != events.HOOK)


def rejecting(told: stage.Stage) -> verdict.Verdict:
    """The HTTP sink refuses the rows of one event in twenty: exactly those are dead-lettered."""
    told.how = "the HTTP sink answers 422 to the rows of 5 % of the events, DuckDB refuses 2 %"
    with hook.Hook(refuses=_REJECTED) as endpoint, told.site(told=endpoint, hook_refuses=_REJECTED) as here:
        here.start()
        here.load()
        for _ in range(told.scale.rounds):
            here.go_on(300)
            told.times += 1
        here.recovered(time.monotonic())
        return here.judge()


def _slow(order: str, how: str) -> stage.Perform:
    """Steps of DuckDB and Files take longer than the lane waits: the outcome is unknown and it writes again."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"{how}, the lanes wait for 1 s"
        with told.site(text=events.pipeline(write_seconds=1)) as here:
            for number in range(told.scale.rounds):
                began = time.monotonic()
                here.start(order)
                if not number:
                    here.load()
                here.go_on(200)
                told.times += 2
                here.recovered(began)
                here.stop()
            here.start()
            return here.judge()

    return perform


EACH = [
    stage.Fault(name="sink stalled", perform=_held(hook.Mood.STALLS, "does not answer")),
    stage.Fault(name="sink refusing", perform=_held(hook.Mood.REFUSES, "answers 503")),
    stage.Fault(name="sink answering late", perform=_held(hook.Mood.LATE, "takes rows and answers after 3 s")),
    stage.Fault(name="sink rejecting 5 %", perform=rejecting),
    stage.Fault(
        name="store stalled in a write",
        perform=_slow("duckdb.inserted=sleep:2@3;files.temporary=sleep:2@3", "DuckDB and Files stand still for 2 s in a write"),
    ),
    stage.Fault(
        name="store answering late",
        perform=_slow("duckdb.committed=sleep:2@3;files.landed=sleep:2@3", "DuckDB and Files answer 2 s after the rows landed"),
    ),
]
