"""The Kafka part of build/chaos/summary.json and its table in docs/reliability.md, written by the runs they tell of.

One entry per fault and seed; a run replaces those it did again and keeps the others.
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
    " | recovery, at most | seeds |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)

Entry = Mapping[str, Any]


def keep(path: pathlib.Path, fault: stage.Fault, told: report.Report, command: str) -> None:
    """Put one run's entry in the file, in place of the one of the same fault and seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = json.loads(path.read_text()) if path.exists() else {"faults": [], "machine": page.machine()}
    entry = told.summary(command, page.now()) | {"row": fault.row, "seed": told.seed, "load": round(os.getloadavg()[2], 1)}
    others = [one for one in whole.get("kafka", []) if (one["name"], one["seed"]) != (fault.name, told.seed)]
    path.write_text(json.dumps(whole | {"kafka": [*others, entry]}, indent=2, ensure_ascii=False) + "\n")


def forget(path: pathlib.Path) -> None:
    """Begin anew: a run of everything leaves no line of an older one."""
    if path.exists():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"kafka": []}, indent=2, ensure_ascii=False) + "\n")


def write(document: pathlib.Path, summary: pathlib.Path, order: Sequence[stage.Fault]) -> None:
    """Replace what stands between the markers. Raises ValueError for a page without them."""
    entries = json.loads(summary.read_text()).get("kafka", [])
    page.replace(document, BEGIN, END, table(entries, [fault.name for fault in order]))


def table(entries: Sequence[Entry], order: Sequence[str]) -> str:
    """Where it ran, how, and one line per fault."""
    by_name = {name: [one for one in entries if one["name"] == name] for name in order}
    there = {name: sorted(runs, key=lambda one: one["seed"]) for name, runs in by_name.items() if runs}
    days = sorted({one["at"].partition(" ")[0] for one in entries})
    told = (
        f"On {page.machine()}, with other work beside it, {' and '.join(days)}; 4 clients (2 HTTP, 2 gRPC), 250 events a request,"
    )
    told += " every tenth request sent again."
    how = [f"- *{name}*: {runs[-1]['how']}" for name, runs in there.items()]
    return "\n".join([told, "", _HEAD, *(_line(name, runs) for name, runs in sorted(there.items(), key=_row)), "", *how, ""])


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
    return f"| {runs[0]['row']} | {shown} | {times} | {least:,} | {zeros} | {other} | {recovery:.1f} s | {seeds} |"
