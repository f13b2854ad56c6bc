"""The table in docs/reliability.md and build/chaos/summary.json, written by the run they tell of."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
from collections.abc import Sequence

from e2e.chaos import report

BEGIN, END = "<!-- chaos: written by make chaos -->", "<!-- chaos: end -->"
_HEAD = (
    "| fault | times | acknowledged | lost | duplicated | unexpected | wrongly dead-lettered | recovery, at most |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def summary(path: pathlib.Path, reports: Sequence[report.Report]) -> None:
    """One entry per fault."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"faults": [one.summary() for one in reports], "machine": machine(), "at": now()}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def machine() -> str:
    """What it ran on."""
    cores = os.cpu_count()
    return (
        f"{cores} cores, {platform.machine()}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def write(page: pathlib.Path, reports: Sequence[report.Report], command: str, load: str) -> None:
    """Replace what stands between the markers. Raises ValueError for a page without them."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no place for the table: it needs {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{table(reports, command, load)}{END}{after}")


def table(reports: Sequence[report.Report], command: str, load: str) -> str:
    """Where it ran, how, and one line per fault."""
    lines = [f"`{command}`, {now()}, on {machine()}; {load}.", "", _HEAD, *map(_line, reports), ""]
    told = [f"- *{one.name}*: {one.how}" for one in reports if one.how]
    return "\n".join([*lines, *told, ""])


def _line(one: report.Report) -> str:
    of = one.verdict
    if of is None:
        return f"| {one.name} | {one.times} | not judged: see build/chaos/summary.json | | | | | |"
    counts = (of.acknowledged, of.lost, of.duplicated, of.unexpected, of.wrongly_dead_lettered)
    cells = " | ".join(f"{count:,}" for count in counts)
    return f"| {one.name}{'' if one.good else ' **(failed)**'} | {one.times} | {cells} | {one.recovery_seconds:.1f} s |"
