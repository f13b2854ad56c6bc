"""The rows of the edits table on pipelines under load: what is refused, what is accepted, and where events land after it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from e2e.scenarios import api, manifests, site, world

_SECOND = "archive"
_RENAMED = "lake"
Change = Callable[[Any], None]


def _changed(one: site.Site, change: Change) -> api.Object:
    made = copy.deepcopy(one.manifest)
    change(made["spec"])
    return made


def _put(path: str, value: object) -> Change:
    """Set what is at a path of keys and indices."""

    def change(spec: Any) -> None:
        *above, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in above:
            spec = spec[part]
        spec[last] = value

    return change


def _rename(sink: api.Object) -> None:
    sink |= {"name": _RENAMED, "renamedFrom": manifests.SINK}


_REFUSED: dict[str, tuple[Change, str]] = {
    "another deduplicate.key": (_put("deduplicate.key", ["customer", "id", "number"]), "spec.deduplicate.key"),
    "another partitionBy": (_put("source.ingest.partitionBy", ["customer", "id"]), "spec.source.ingest.partitionBy"),
    "more partitions": (_put("log.kafka.partitions", manifests.PARTITIONS + 1), "spec.log.kafka.partitions"),
    "a narrower field": (_put("schema.fields.3.type", "Int32"), "spec.schema.fields[3]"),
    "a field that must be there": (_put("schema.fields.4.required", True), "spec.schema.fields[4]"),
    "another name": (lambda spec: _rename(spec["sinks"][0]), "spec.sinks[0].name"),
}


def refused_edits(here: world.World) -> None:
    """While events are unread, each edit that needs an empty log is refused by name, and the same pods go on."""
    with site.opened(here) as one:
        one.start()
        good = one.manifest
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        before = {pod["metadata"]["uid"] for pod in one.pods()}
        for what, (change, field) in _REFUSED.items():
            one.apply(_changed(one, change))
            told = one.until_state("Stalled")
            here.expect(field in str(told.get("message")), f"{what}: the message does not name {field}: {told.get('message')}")
            here.expect(one.condition("Stalled") == ("True", "SpecInvalid"), f"{what}: Stalled is {one.condition('Stalled')}")
            one.until_lands()
            one.apply(good)
            one.until_state("Running")
        here.note(f"refused: {', '.join(_REFUSED)}")
        here.expect(before == {pod["metadata"]["uid"] for pod in one.pods()}, "pods were replaced for an edit that was refused")
        one.judge()


def schema_and_target(here: world.World) -> None:
    """A field more, a wider one, and another database in one edit: the same offsets, each row in one of both."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.until_lands()
        commits = {at: commit.offset for at, commit in one.logbook.commits(manifests.SINK).items()}
        new = one.another_store()
        one.stores[manifests.SINK].append(new)
        one.apply(_changed(one, functools.partial(_wider, new.sink(manifests.SINK)["postgres"])))
        one.until_state("Running")
        one.until_lands(into=new)
        now = {at: commit.offset for at, commit in one.logbook.commits(manifests.SINK).items()}
        here.expect(all(now.get(at, 0) >= offset for at, offset in commits.items()), f"offsets went back: {commits}, {now}")
        one.go_on(here.scale.events)
        one.judge()


def _wider(target: object, spec: Any) -> None:
    spec["schema"]["fields"].append({"name": "place", "type": "String"})
    spec["sinks"][0]["postgres"] = target


def sinks_come_and_go(here: world.World) -> None:
    """A sink is added and reads from the beginning; it is removed, and the status says what it has not read."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        second = one.another_store()
        one.stores[_SECOND] = [second]
        first_only = one.manifest
        one.apply(_changed(one, lambda spec: spec["sinks"].append(second.sink(_SECOND))))
        one.until_state("Running")
        one.until_lands(into=second)
        one.until_lands()
        one.judge()
        here.note("added: both sinks have all of it")
        del one.stores[_SECOND]
        one.load(here.scale.rate)
        one.apply(first_only)
        one.until_state("Running")
        one.until(functools.partial(_gone, here, one), f"no pod of {_SECOND}")
        rows = sum(second.landed().values())
        one.go_on(here.scale.events)
        one.until_lands()
        here.expect(sum(second.landed().values()) == rows, "rows land in a sink that was removed")
        one.judge()


def _gone(here: world.World, one: site.Site) -> bool | None:
    there = here.api.listed("pods", one.namespace, {**one.labels("batcher"), "penstock.dev/sink": _SECOND})
    return not there or None


def drained_edits(here: world.World) -> None:
    """Drained, what was refused is accepted: another key, another name with `renamedFrom`. It goes on where it was."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        # A copy of an old event is another event under another key: nobody may still hold one.
        one.unload()
        one.patch({"lifecycle": "Draining"})
        one.until_state("Drained")
        one.stores = {_RENAMED: one.stores.pop(manifests.SINK)}
        one.without_ledger.add(_RENAMED)
        one.apply(_changed(one, _after_draining))
        one.until_state("Running")
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.until_lands()
        one.judge()


def _after_draining(spec: Any) -> None:
    spec["lifecycle"] = "Running"
    spec["deduplicate"]["key"] = ["customer", "id", "number"]
    _rename(spec["sinks"][0])


EACH = {
    "refused edits": refused_edits,
    "schema and target": schema_and_target,
    "sinks come and go": sinks_come_and_go,
    "drained edits": drained_edits,
}
