"""build/chaos/summary.json and the table in docs/reliability.md, written by the runs they tell of.

A run replaces the entries of the faults that it did and keeps the others, each with the command and the seed it came from.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from e2e.chaos import report

BEGIN, END = "<!-- chaos: written by make chaos -->", "<!-- chaos: end -->"
_COLUMNS = ("acknowledged", "lost", "duplicated", "unexpected", "wrongly_dead_lettered")
_HEAD = (
    "| fault | times | acknowledged | lost | duplicated | unexpected | wrongly dead-lettered | recovery, at most | seed |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)

Entry = Mapping[str, Any]


def summarise(path: pathlib.Path, reports: Sequence[report.Report], command: str, order: Sequence[str]) -> list[Entry]:
    """One entry per fault in the file, in this order of names; the entries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {"faults": []}
    known: dict[str, Entry] = {one["name"]: one for one in before["faults"]}
    known |= {one.name: one.summary(command, now()) for one in reports}
    entries = [known[name] for name in order if name in known]
    told = before | {"faults": entries, "machine": machine()}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return entries


def machine() -> str:
    """Where this runs."""
    cores = os.cpu_count()
    return (
        f"{cores} cores, {platform.machine()}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def now() -> str:
    """To the minute."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def write(page: pathlib.Path, entries: Sequence[Entry], load: str) -> None:
    """Replace what stands between the markers. Raises ValueError for a page without them."""
    replace(page, BEGIN, END, table(entries, load))


def replace(page: pathlib.Path, opening: str, closing: str, content: str) -> None:
    """Put the content between these lines of the page. Raises ValueError for a page without them."""
    text = page.read_text()
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not (begin and end):
        raise ValueError(f"{page} has no place for the table: it needs {opening} and {closing}")
    page.write_text(f"{before}{opening}\n{content}{closing}{after}")


def table(entries: Sequence[Entry], load: str) -> str:
    """Where it ran, how, and one line per fault."""
    runs = dict.fromkeys((one["command"], one["at"].partition(" ")[0]) for one in entries)
    told = [f"- `{command}`, {day}" for command, day in runs]
    how = [f"- *{one['name']}*: {one['how']}" for one in entries if one["how"]]
    lines = [f"On {machine()}, with other work beside it; {load}.", "", *told, "", _HEAD, *map(_line, entries), "", *how, ""]
    return "\n".join(lines)


def _line(one: Entry) -> str:
    name = one["name"] if one["good"] else f"{one['name']} **(failed)**"
    counts = " | ".join(f"{one[column]:,}" if column in one else "?" for column in _COLUMNS)
    return f"| {name} | {one['times']} | {counts} | {one['recovery_seconds']:.1f} s | {one['seeds'][0]} |"
