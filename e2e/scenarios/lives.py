"""A pipeline's life beyond edits: deleted and applied again, grown and shrunk, drained, and beside one of its own name."""

from __future__ import annotations

import functools
import time

from e2e.scenarios import manifests, site, world


def delete_and_apply_again(here: world.World) -> None:
    """Deleted under load, its pods go and its log stays; applied again it goes on at the same offsets."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.until_lands()
        log = _log(one)
        began = time.monotonic()
        here.kubectl("delete", "bp", manifests.NAME, f"--namespace={one.namespace}", "--timeout=60s")
        here.note(f"the object was gone after {time.monotonic() - began:.0f} s")
        one.until(lambda: not one.pods() or None, "no pods", 120.0)
        commits = {partition: one.offset for partition, one in one.logbook.commits(manifests.SINK).items()}
        here.expect(bool(commits), "no offsets are left")
        one.apply()
        one.until_state("Running")
        here.expect(_log(one) == log, "it has another log")
        one.go_on(here.scale.events)
        one.until_lands()
        now = {partition: one.offset for partition, one in one.logbook.commits(manifests.SINK).items()}
        here.expect(all(now.get(at, 0) >= offset for at, offset in commits.items()), f"offsets went back: {commits}, {now}")
        one.judge()


def _log(one: site.Site) -> str:
    """Its identity, which the status tells as soon as a pod has."""
    return str(one.until(lambda: one.status().get("log", {}).get("logId") or None, "the status tells the log's id"))


def scale(here: world.World) -> None:
    """One batcher, three, one again; three have every partition between them."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        for wanted in (3, 1):
            began = time.monotonic()
            _resize(one, wanted)
            one.until(functools.partial(_has, one, wanted), f"{wanted} batchers are ready", site.READY_SECONDS)
            one.until_state("Running")
            here.note(f"{wanted} batchers after {time.monotonic() - began:.0f} s")
            one.until_lands()
            one.go_on(here.scale.events)
            one.sample()
        one.judge()


def _resize(one: site.Site, wanted: int) -> None:
    sink = {**one.manifest["spec"]["sinks"][0], "replicas": {"min": wanted, "max": max(wanted, 3)}}
    one.apply({**one.manifest, "spec": {**one.manifest["spec"], "sinks": [sink]}})


def _has(one: site.Site, wanted: int) -> bool | None:
    there = one.pods("batcher")
    return (len(there) == wanted and all(map(world.ready, there))) or None


def two_namespaces(here: world.World) -> None:
    """Two pipelines of one name: each has its own log, and rows of one are never the other's."""
    with site.opened(here, "-a") as one, site.opened(here, "-b") as other:
        for each in (one, other):
            each.prepare()
            each.apply()
        for each in (one, other):
            each.until_state("Running", 300.0)
        for each in (one, other):
            each.load(here.scale.rate / 2)
        for each in (one, other):
            each.go_on(here.scale.events)
        here.kubectl("delete", "bp", manifests.NAME, f"--namespace={one.namespace}", "--timeout=60s")
        other.until_lands()
        one.apply()
        one.until_state("Running")
        one.go_on(here.scale.events)
        for each in (one, other):
            each.judge()


def drain(here: world.World) -> None:
    """Draining: doors stay and refuse, lanes land what there is, Drained. Running again, it takes events as before."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.patch({"lifecycle": "Draining"})
        one.until_state("Drained")
        here.expect(bool(one.pods("ingest")), "nobody is left to tell who sends that the pipeline is drained")
        here.expect(one.logbook.lag(manifests.SINK) == 0, "drained, and not everything is read")
        one.patch({"lifecycle": "Running"})
        one.until_state("Running")
        one.go_on(here.scale.events)
        one.until_lands()
        one.judge()


EACH = {
    "delete and apply again": delete_and_apply_again,
    "scale": scale,
    "two namespaces": two_namespaces,
    "drain": drain,
}
