"""Dead letters put back by a DeadLetterReplay, as a user does it: looked at with `kubectl penstock`, counted, put back."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

from e2e.chaos.kafka import stream
from e2e.cluster import cache
from e2e.cluster.local import binaries
from e2e.scenarios import api, manifests, site, world

_NAME = "after-the-fix"
_MIX = stream.Mix(failing=0, rejected=300)
_SECONDS = 90.0
_ROOT = pathlib.Path(__file__).parents[2]
_MENDED = "ALTER TABLE orders DROP CONSTRAINT orders_value_check"
_REFUSED = "SELECT number, coalesce(item_no, 0), count(*) FROM orders WHERE value < 0 GROUP BY 1, 2"


def replay(here: world.World) -> None:
    """Rows that the store refuses are letters; with the table mended they are counted, put back at a walk, their pod is killed
    half-way, and each lands once; applied again, nothing is done."""
    with site.opened(here, mix=_MIX) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.judge()
        letters = len(set(one.logbook.letters(_MIX)[manifests.SINK].letter))
        here.expect(letters > 10, f"{letters} letters are too few to see anything")
        _says(here, one, "status", manifests.NAME, wanted=f" {letters:,} ")
        _says(here, one, "dlq", manifests.NAME, "analyse", wanted="SinkRejected")
        _says(here, one, "top", manifests.NAME, "--once", wanted=f"{letters:,} outstanding")

        one.store.run(_MENDED)
        _apply(here, one, "DryRun")
        counted = _until(here, one, "Complete", "Counted")
        here.expect(counted["selected"] == letters, f"{letters} letters, and the dry run counts {counted['selected']}")
        here.expect(not one.store.run(_REFUSED), "a dry run has put something back")

        _edit(here, one, {"action": "Replay", "eventsPerSecond": 1})
        one.until(lambda: _status(here, one).get("replayed", 0) >= 1 or None, "some are put back", _SECONDS)
        here.signal(signal.SIGKILL, _pod(one))
        before = _status(here, one)["replayed"]
        one.until(lambda: _status(here, one).get("replayed", 0) > before or None, "another pod goes on", _SECONDS)
        _says(here, one, "status", manifests.NAME, wanted=_NAME)
        _edit(here, one, {"eventsPerSecond": 1000})
        done = _until(here, one, "Complete", "Replayed")
        told = {name: done.get(name) for name in ("selected", "replayed", "landed", "failed")}
        here.expect(told == {"selected": letters, "replayed": letters, "landed": letters, "failed": 0}, f"{letters}: {told}")
        _expect_each_once(here, one, letters)
        _says(here, one, "dlq", manifests.NAME, "ls", "--limit", "1", wanted="Landed")

        here.kubectl("delete", "dlr", _NAME, f"--namespace={one.namespace}", "--timeout=60s")
        _apply(here, one, "Replay")
        _until(here, one, "Complete", "AlreadyRun")
        _expect_each_once(here, one, letters)


def _expect_each_once(here: world.World, one: site.Site, letters: int) -> None:
    counts = [int(row[2]) for row in one.store.run(_REFUSED)]
    here.expect(
        len(counts) == letters and set(counts) == {1}, f"{letters} letters, {len(counts)} rows, up to {max(counts)} times"
    )


def _apply(here: world.World, one: site.Site, action: str) -> None:
    spec = {"pipelineRef": {"name": manifests.NAME}, "select": {"categories": ["SinkRejected"]}, "action": action}
    metadata = {"name": _NAME, "namespace": one.namespace}
    made = {"apiVersion": "penstock.dev/v1alpha1", "kind": "DeadLetterReplay", "metadata": metadata, "spec": spec}
    here.kubectl("apply", "--filename=-", stdin=json.dumps(made))


def _edit(here: world.World, one: site.Site, spec: api.Object) -> None:
    here.api.patch("deadletterreplays", one.namespace, _NAME, {"spec": spec})


def _status(here: world.World, one: site.Site) -> dict[str, Any]:
    """Of the object as it is now; empty until the operator has looked."""
    made = here.api.get("deadletterreplays", one.namespace, _NAME) or {}
    told: dict[str, Any] = made.get("status") or {}
    return told if told.get("observedGeneration") == made.get("metadata", {}).get("generation") else {}


def _until(here: world.World, one: site.Site, kind: str, reason: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        told = _status(here, one)
        holds = [each["reason"] for each in told.get("conditions", ()) if (each["type"], each["status"]) == (kind, "True")]
        return told if holds == [reason] else None

    return one.until(look, f"{_NAME} is {kind}, {reason}", 2 * _SECONDS)


def _pod(one: site.Site) -> api.Object:
    return one.until(
        lambda: next((each for each in one.pods("replay") if world.ready(each)), None), "the replay has a pod", _SECONDS
    )


def _says(here: world.World, one: site.Site, *arguments: str, wanted: str) -> None:
    said = ""

    def look() -> bool | None:
        nonlocal said
        said = _plugin(here, one, *arguments)
        return wanted in said or None

    try:
        here.until(look, f"kubectl penstock {arguments[0]} says {wanted}", _SECONDS)
    except world.StuckError as error:
        raise world.StuckError(f"{error}\nit says: {said}") from error


def _plugin(here: world.World, one: site.Site, verb: str, *arguments: str) -> str:
    """What it prints, whatever it ends with."""
    try:
        programs = [str(binaries.found(binaries.CONTROL_PLANE))]
    except cache.MissingError:
        programs = []  # another provider has a kubectl of its own
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(str(_ROOT / name) for name in ("services", "operator")),
        "KUBECONFIG": str(here.cluster.kubeconfig),
    }
    command = [sys.executable, "-m", "penstock.cli.kubectl.main", verb, "-n", one.namespace, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return done.stdout + done.stderr


EACH = {"replay": replay}
