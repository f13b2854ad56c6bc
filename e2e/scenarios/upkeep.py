"""What an admin does to all pipelines at once, and what the operator does while nobody does anything."""

from __future__ import annotations

import functools
import json
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from e2e.cluster import archives, image
from e2e.scenarios import api, install, site, situations, world

_NEXT = f"{image.NAME}-next"
_NOWHERE = "nowhere"
IMAGE_MISSING = situations.Row(state="Stalled", stalled=("True", ""), landing=("True", ""))
_ACCOUNT = f"system:serviceaccount:{install.NAMESPACE}:"
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def upgrade(here: world.World) -> None:
    """Chart and images upgraded under load: operator and pods roll. An image that isn't there is told; the old pods go on."""
    with tempfile.TemporaryDirectory(prefix="e2e-image-") as folder:
        archive = pathlib.Path(folder) / "next.tar"
        archives.make(archive, name=_NEXT)
        here.cluster.load_image(archive)
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        began = time.monotonic()
        with install.changed(here.cluster, f"--set-string=image.tag={_tag(_NEXT)}", "--set=logLevel=DEBUG"):
            one.until(functools.partial(_all_run, one, _NEXT), "all pods run the next image", site.READY_SECONDS)
            one.until_state("Running")
            here.note(f"another image in all pods after {time.monotonic() - began:.0f} s")
            here.expect(all(_image(pod) == _NEXT for pod in here.operator_pods()), "the operator does not run the next image")
            one.until_lands()
            one.sample()
            repository = image.NAME.rpartition(":")[0]
            nowhere = (f"--set=dataPlaneImage.tag={_NOWHERE}", f"--set=dataPlaneImage.repository={repository}")
            install.upgrade(here.cluster, *nowhere)
            situations.reads(here, one, IMAGE_MISSING, site.READY_SECONDS)
            one.until_lands()
        one.until(functools.partial(_all_run, one, image.NAME), "all pods run the first image again", site.READY_SECONDS)
        one.until_state("Running")
        one.until_lands()
        one.judge()


def _tag(name: str) -> str:
    return name.rpartition(":")[2]


def _all_run(one: site.Site, name: str) -> bool | None:
    there = one.pods()
    return (bool(there) and all(_image(pod) == name and world.ready(pod) for pod in there)) or None


def _image(pod: api.Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def quiet(here: world.World) -> None:
    """Nothing changes: the operator writes nothing about this pipeline, as the API server's own record of requests says."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.judge()
        log = here.cluster.audit_log
        here.expect(log is not None, "this cluster keeps no record of requests")
        _until_converged(here, one)
        begin = log.stat().st_size if log else 0
        ends = time.monotonic() + here.scale.quiet_seconds
        one.until(lambda: time.monotonic() > ends or None, "time goes by", here.scale.quiet_seconds + 60.0)
        writes = [asked for asked in _asked(log, begin) if _is_write(asked, one.namespace)] if log else []
        here.note(f"{len(writes)} writes of the operator in {here.scale.quiet_seconds:.0f} s")
        here.expect(not writes, "\n".join(f"{asked['verb']} {asked['requestURI']}" for asked in writes))


def _until_converged(here: world.World, one: site.Site) -> None:
    """The last counts are told within half a minute of the last event; then the status stays for a while."""
    seen = [one.pipeline()["metadata"]["resourceVersion"]]
    since = [time.monotonic()]

    def look() -> bool | None:
        version = one.pipeline()["metadata"]["resourceVersion"]
        if version != seen[0]:
            seen[0], since[0] = version, time.monotonic()
        return time.monotonic() - since[0] > 45.0 or None

    here.until(look, "the status stays as it is", 300.0)


def _asked(log: pathlib.Path, begin: int) -> Iterator[dict[str, Any]]:
    with log.open("rb") as lines:
        lines.seek(begin)
        for line in lines:
            yield json.loads(line)


def _is_write(asked: dict[str, Any], namespace: str) -> bool:
    ours = str(asked.get("user", {}).get("username", "")).startswith(_ACCOUNT)
    return ours and asked["verb"] in _WRITES and asked.get("objectRef", {}).get("namespace") == namespace


EACH = {"upgrade": upgrade, "quiet": quiet}
