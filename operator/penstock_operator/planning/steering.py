"""What running pods are told so that they need not start anew: other settings of their lane, and that its store is away."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.api import live as api_live
from penstock_operator import actions, revision, snapshot

_KNOWN = ("Open", "HalfOpen", "Closed")


def followed(running: revision.Revision, live: snapshot.Snapshot) -> Iterator[actions.Follow]:
    """Pods whose lane follows other settings than the object has. What a pod calls its settings is what it was told, or, of one
    that has only just begun, what is in its file, which may be the one of a minute ago."""
    for sink in running.pipeline.spec.sinks:
        version = api_live.version(sink)
        for report in live.reports:
            if report.address and any(_is_behind(lane, sink.name, version) for lane in report.lanes):
                yield actions.Follow(
                    pod=report.pod,
                    address=report.address,
                    sink=sink.name,
                    settings=api_live.text(sink),
                    version=version,
                    generation=running.generation,
                )


def behind(running: revision.Revision, live: snapshot.Snapshot) -> dict[str, tuple[int, int]]:
    """How many of a lane's pods follow the settings of the object, and how many there are; of lanes where they don't all."""
    found = {}
    for sink in running.pipeline.spec.sinks:
        version, lanes = api_live.version(sink), live.lanes(sink.name)
        waiting = sum(_is_behind(lane, sink.name, version) for lane in lanes)
        if waiting:
            found[sink.name] = (len(lanes) - waiting, len(lanes))
    return found


def _is_behind(lane: snapshot.LaneReport, sink: str, version: str) -> bool:
    return lane.sink == sink and lane.settings_version not in ("", version)


def spread(live: snapshot.Snapshot) -> Iterator[actions.OpenCircuit]:
    """Once most pods of a lane have found its store away, the others need not find out one by one. Each finds out by itself when
    it is back."""
    for sink in dict.fromkeys(lane.sink for report in live.reports for lane in report.lanes):
        told = [lane for lane in live.lanes(sink) if lane.circuit in _KNOWN]
        opened = [lane for lane in told if lane.circuit == "Open"]
        if 2 * len(opened) <= len(told):
            continue
        words = next((lane.trouble.message for lane in opened if lane.trouble), "")
        why = f"{len(opened)} of {len(told)} batchers find the store away" + (f": {words}" if words else "")
        for report in live.reports:
            if report.address and any((lane.sink, lane.circuit) == (sink, "Closed") for lane in report.lanes):
                yield actions.OpenCircuit(pod=report.pod, address=report.address, sink=sink, why=why)
