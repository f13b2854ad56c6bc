"""What a user changes while data flows."""

from __future__ import annotations

import datetime
import itertools
import time

from e2e.scenarios import api, manifests, site, world

ROLES = ("sink", "batcher", "ingest")
_EDITS = 50
_EDIT_SECONDS = 10.0


def edit_under_load(here: world.World) -> None:
    """A changed transform reaches the sink, then the batcher, then the doors, each when the one before has rolled."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        before = {pod["metadata"]["uid"] for pod in one.pods()}
        began = time.monotonic()
        one.apply(manifests.transformed(one.manifest, "cast(note as bigint) * 3"))
        one.until_state("Running")
        here.note(f"rolled in {time.monotonic() - began:.0f} s")
        _expect_order(here, one, before)
        one.go_on(here.scale.events)
        one.until_lands()
        one.sample()
        one.judge()


def _expect_order(here: world.World, one: site.Site, before: set[str]) -> None:
    """No pod of a role is made before those of the roles ahead of it are ready. Roles that the edit does not concern stay."""
    rolled: list[tuple[str, datetime.datetime, datetime.datetime]] = []
    for role in ROLES:
        new = [pod for pod in one.pods(role) if pod["metadata"]["uid"] not in before]
        if new:
            made = min(_time(pod["metadata"]["creationTimestamp"]) for pod in new)
            rolled.append((role, made, max(_ready_since(pod) for pod in new)))
    here.note("rolled: " + ", ".join(role for role, _, _ in rolled))
    here.expect("batcher" in {role for role, _, _ in rolled}, "the batcher has not rolled")
    for (first, _, done), (second, made, _) in itertools.pairwise(rolled):
        here.expect(made >= done, f"a {second} was made at {made}, a {first} was ready at {done} only")


def pause_and_resume(here: world.World) -> None:
    """Paused: the doors take events and nothing lands. Running: it all lands."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.patch({"lifecycle": "Paused"})
        one.until_state("Paused")
        here.expect(one.condition("Ready") == ("True", "Paused"), f"Ready is {one.condition('Ready')}")
        one.until(lambda: one.condition("Landing") == ("False", "Paused") or None, "Landing is False: Paused")
        rows = _until_still(one)
        one.go_on(here.scale.events)
        here.expect(one.landed() == rows, f"{one.landed() - rows} rows landed while paused")
        one.patch({"lifecycle": "Running"})
        one.until_state("Running")
        one.until_lands()
        one.judge()


def _until_still(one: site.Site) -> int:
    """Rows in the store once two looks a few seconds apart see the same: what was on its way has landed."""
    last = [-1, one.landed()]
    looked = [time.monotonic()]

    def look() -> int | None:
        if time.monotonic() - looked[0] < 3.0:
            return None
        looked[0] = time.monotonic()
        last[0], last[1] = last[1], one.landed()
        return last[1] if last[0] == last[1] else None

    return one.until(look, "nothing lands any more", 60.0)


def invalid_edit(here: world.World) -> None:
    """An expression over a column that isn't there: told, and the last good one goes on in the same pods."""
    with site.opened(here) as one:
        one.start()
        good = one.manifest
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        before = {pod["metadata"]["uid"] for pod in one.pods()}
        one.apply(manifests.transformed(good, "nowhere + 1"))
        told = one.until_state("Stalled")
        here.note(str(told.get("message")))
        here.expect(one.condition("SpecValid")[0] == "False", f"SpecValid is {one.condition('SpecValid')}")
        here.expect(one.condition("Ready")[0] == "True", f"Ready is {one.condition('Ready')}")
        here.expect("nowhere" in str(told.get("message")), f"the message does not name the column: {told.get('message')}")
        one.until_lands()
        one.go_on(here.scale.events)
        here.expect(before == {pod["metadata"]["uid"] for pod in one.pods()}, "pods were replaced for an edit that can't be used")
        one.apply(good)
        one.until_state("Running")
        one.until_lands()
        one.judge()


def fifty_edits(here: world.World) -> None:
    """Fifty in ten seconds: the last one is what runs, and no more roll-outs than needed were begun."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        began = time.monotonic()
        for at in range(_EDITS):
            changed = manifests.transformed(one.manifest, f"cast(note as bigint) * {at + 3}")
            one.patch({"transform": changed["spec"]["transform"]})
            time.sleep(max(0.0, began + (at + 1) * _EDIT_SECONDS / _EDITS - time.monotonic()))
        here.note(f"{_EDITS} edits in {time.monotonic() - began:.1f} s")
        one.until_state("Running", 300.0)
        here.note(f"converged {time.monotonic() - began:.0f} s after the first")
        here.note(f"replica sets of the batcher: {_revisions(here, one)}")
        one.until_lands()
        file = one.file_of("batcher")
        here.expect(f"* {_EDITS + 2}" in file, "the batcher does not run the last edit")
        one.judge()


def _revisions(here: world.World, one: site.Site) -> int:
    deployments = here.api.listed("deployments", one.namespace, one.labels("batcher"))
    return int(deployments[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _ready_since(pod: api.Object) -> datetime.datetime:
    found = [one for one in pod["status"]["conditions"] if one["type"] == "Ready" and one["status"] == "True"]
    return _time(found[0]["lastTransitionTime"]) if found else datetime.datetime.max.replace(tzinfo=datetime.UTC)


EACH = {
    "edit under load": edit_under_load,
    "pause and resume": pause_and_resume,
    "invalid edit": invalid_edit,
    "fifty edits": fifty_edits,
}
