"""What happens to a cluster while data flows: pods, the operator and the API server are taken away."""

from __future__ import annotations

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator

from e2e.scenarios import manifests, site, world

_MOST_BETWEEN_SECONDS = 1.5


def kills(here: world.World) -> None:
    """SIGKILL to every process of a pod of each kind, the operator's too, one after the other."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        for role in ("sink", "batcher", "ingest"):
            began = time.monotonic()
            here.signal(signal.SIGKILL, one.pods(role)[0])
            one.until_lands()
            here.note(f"{role}: lands again after {time.monotonic() - began:.0f} s")
            one.sample()
        here.signal(signal.SIGKILL, here.operator_pods()[0])
        one.until_lands()
        here.until_operator_ready()
        one.until_state("Running")
        one.judge()


def operator_killed(here: world.World) -> None:
    """The operator killed a moment after the first apply and after each of several edits: in the end all of it is made."""
    with site.opened(here) as one:
        one.prepare()
        _interrupted(here, one.apply)
        one.until_state("Running", 300.0)
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        for at in range(here.scale.kills - 1):
            changed = manifests.transformed(one.manifest, f"cast(note as bigint) * {at + 3}")
            _interrupted(here, functools.partial(one.apply, changed))
        one.until_state("Running", 300.0)
        here.expect(f"* {here.scale.kills + 1}" in one.file_of("batcher"), "the batcher does not run the last edit")
        one.until_lands()
        one.judge()


def _interrupted(here: world.World, act: Callable[[], None]) -> None:
    """`act`, and the operator killed a moment later; its pod is taken away too, so that the next one starts at once."""
    pod = here.operator_pods()[0]
    act()
    time.sleep(here.random.uniform(0.0, _MOST_BETWEEN_SECONDS))
    here.signal(signal.SIGKILL, pod)
    here.api.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], grace_seconds=0)
    here.until_operator_ready()


def api_away(here: world.World) -> None:
    """Without an API server data flows on; the operator comes back to it, and an edit made then is carried out."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        before = {pod["metadata"]["uid"] for pod in one.pods()}
        with _away(here):
            ends = time.monotonic() + here.scale.away_seconds
            while time.monotonic() < ends:
                one.until_lands()
            here.note(f"away for {here.scale.away_seconds:.0f} s")
        here.until_operator_ready()
        one.until_state("Running")
        here.expect(before == {pod["metadata"]["uid"] for pod in one.pods()}, "pods were replaced because the API was away")
        _edited(here, one)
        one.judge()


def _edited(here: world.World, one: site.Site) -> None:
    one.apply(manifests.transformed(one.manifest, "cast(note as bigint) * 9"))
    one.until_state("Running")
    here.expect("* 9" in one.file_of("batcher"), "the batcher does not run the edit")
    one.until_lands()


@contextlib.contextmanager
def _away(here: world.World) -> Iterator[None]:
    here.cluster.stop_api()
    try:
        yield
    finally:
        here.cluster.start_api()


EACH = {
    "kills": kills,
    "operator killed": operator_killed,
    "api server away": api_away,
}
