"""The Kafka part of build/chaos/summary.json and its table in docs/reliability.md, written by the runs they tell of.

One entry per fault and seed, kept as soon as it is there; a run replaces those it did again and keeps the others.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from e2e.chaos import page, report
from e2e.chaos.kafka import stage

BEGIN, END = "<!-- chaos over kafka: written by make chaos -->", "<!-- chaos over kafka: end -->"
_ZERO = ("lost", "unexpected", "wrongly_dead_lettered", "duplicated", "wrongly_landed", "commit_ahead", "ledger")
_HEAD = (
    "| row | fault | times, per seed | acknowledged, at least | lost | unexpected | wrongly dead-lettered | duplicated | other"
    " | recovery, at most | load | seeds |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)

Entry = Mapping[str, Any]


def keep(path: pathlib.Path, fault: stage.Fault, told: report.Report, scale: stage.Scale, command: str) -> None:
    """Put one run's entry in the file, in place of the one of the same fault, seed and scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"faults": [], "machine": page.machine()}
    own = {"row": fault.row, "seed": told.seed, "events": scale.events, "load": round(os.getloadavg()[0], 1)}
    entry: dict[str, Any] = {**told.summary(command, page.now()), **own}
    others = [one for one in whole.get("kafka", []) if _which(one) != _which(entry)]
    path.write_text(json.dumps(whole | {"kafka": [*others, entry]}, indent=2, ensure_ascii=False) + "\n")


def has(path: pathlib.Path, fault: stage.Fault, seed: int, scale: stage.Scale) -> bool:
    """Whether the file has a good entry of this fault and seed with at least as many events."""
    entries = json.loads(path.read_text()).get("kafka", []) if path.exists() else []
    mine = [one for one in entries if (one["name"], one["seed"]) == (fault.name, seed)]
    return any(one["good"] and one.get("events", 0) >= scale.events for one in mine)


def _which(entry: Entry) -> tuple[str, int, int]:
    return str(entry["name"]), int(entry["seed"]), int(entry.get("events", 0))


def forget(path: pathlib.Path) -> None:
    """Begin anew: a run of everything leaves no line of an older one."""
    if path.exists():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"kafka": []}, indent=2, ensure_ascii=False) + "\n")


def write(document: pathlib.Path, summary: pathlib.Path, order: Sequence[stage.Fault]) -> None:
    """Replace what stands between the markers. Raises ValueError for a page without them."""
    entries = json.loads(summary.read_text()).get("kafka", [])
    page.replace(document, BEGIN, END, table(entries, [fault.name for fault in order]))


def table(entries: Sequence[Entry], order: Sequence[str]) -> str:
    """Where it ran, how, and one line per fault, of its runs with the most events."""
    by_name = {name: _largest([one for one in entries if one["name"] == name]) for name in order}
    there = {name: sorted(runs, key=lambda one: one["seed"]) for name, runs in by_name.items() if runs}
    days = sorted({one["at"].partition(" ")[0] for runs in there.values() for one in runs})
    told = (
        f"On {page.machine()}, {' and '.join(days)}, with other work beside it where the load says so; 4 clients (2 HTTP,"
        f" 2 gRPC), 250 events a request, every tenth sent again, {stage.LONG.rate:,.0f} events a second while faults happen"
        " and then as many as the doors take. *Load* is that of the last minute when a fault was over, this one's own included."
    )
    how = [f"- *{name}*: {runs[-1]['how']}" for name, runs in there.items()]
    return "\n".join([told, "", _HEAD, *(_line(name, runs) for name, runs in sorted(there.items(), key=_row)), "", *how, ""])


def _largest(runs: Sequence[Entry]) -> Sequence[Entry]:
    """A short run says nothing beside long ones."""
    most = max((one.get("events", 0) for one in runs), default=0)
    return [one for one in runs if one.get("events", 0) == most]


def _row(item: tuple[str, Sequence[Entry]]) -> int:
    return int(item[1][0]["row"])


def _line(name: str, runs: Sequence[Entry]) -> str:
    shown = name if all(one["good"] for one in runs) else f"{name} **(failed)**"
    counts = {column: sum(one.get(column, 0) for one in runs) for column in _ZERO}
    other = sum(counts[column] for column in _ZERO[4:])
    least = min(one.get("acknowledged", 0) for one in runs)
    times = "–".join(str(number) for number in sorted({min(one["times"] for one in runs), max(one["times"] for one in runs)}))
    recovery = max(one["recovery_seconds"] for one in runs)
    zeros = " | ".join(f"{counts[column]:,}" for column in _ZERO[:4])
    seeds = ", ".join(str(one["seed"]) for one in runs)
    known = sorted({round(one["load"]) for one in runs if "load" in one})
    load = "–".join(str(number) for number in dict.fromkeys([*known[:1], *known[-1:]]))
    return f"| {runs[0]['row']} | {shown} | {times} | {least:,} | {zeros} | {other} | {recovery:.1f} s | {load} | {seeds} |"
