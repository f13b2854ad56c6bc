"""The tables of docs/performance.md from results.json: who took how much, beside Penstock, and who does not count and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers import jobs


def tables(results: Mapping[str, Any]) -> str:
    """One table a job, what the contenders are, where it was measured."""
    parts = [_job(job) for job in results["jobs"]]
    return "\n\n".join([*parts, _who(results["jobs"])])


def _job(job: Mapping[str, Any]) -> str:
    ours = next((one.get("cpu_us") for one in job["contenders"] if one["name"].startswith("Penstock") and _counts(one)), None)
    small, large = (f"{size:,}" for size in job["sizes"])
    lines = [
        f"**`{job['name']}`**: {job['says']}. Target: {_target(job['name'])}.",
        "",
        "| | CPU µs per event | range | of which | broker µs | times Penstock | |",
        "|---|---|---|---|---|---|---|",
        *(_row(one, job["name"], ours) for one in job["contenders"] if one["offered"]),
        "",
    ]
    if absent := [one["name"] for one in job["contenders"] if not one["offered"] and not one["name"].startswith("Penstock")]:
        lines.append(f"Not offered, as it has no door of its own: {', '.join(absent)}.")
    return "\n".join([*lines, f"{_where(job)} Sizes {small} and {large} events, {job['rows'][1]:,} rows from the larger one."])


def _row(one: Mapping[str, Any], job: str, ours: float | None) -> str:
    if not _counts(one):
        return f"| {one['name']} | does not count | | | | | {one['fault'].replace('|', '/')} |"
    low, high = one["range"]
    parts = ", ".join(f"{name} {spent:.2f}" for name, spent in one["parts_us"].items()) if len(one["parts_us"]) > 1 else ""
    ratio = f"{one['cpu_us'] / ours:.2f}×" if ours else ""
    cells = [one["name"], f"{one['cpu_us']:.2f}", f"{low:.2f} – {high:.2f}", parts, f"{one['broker_us']:.2f}", ratio]
    return f"| {' | '.join([*cells, _verdict(one, job, ours)])} |"


def _verdict(one: Mapping[str, Any], job: str, ours: float | None) -> str:
    known = next(known for known in jobs.ALL if known.name == job)
    if one["name"].startswith("Penstock"):
        aim = known.target_us
        return "" if aim is None else _met(f"≤ {aim:g} µs", is_met=one["cpu_us"] <= aim)
    goal = known.goals.get(one["name"])
    return "" if ours is None or goal is None else _met(f"≥ {goal:g}×", is_met=one["cpu_us"] / ours >= goal)


def _met(aim: str, *, is_met: bool) -> str:
    return f"{aim}: {'met' if is_met else '**missed**'}"


def _target(name: str) -> str:
    aim = next(known.target_us for known in jobs.ALL if known.name == name)
    return "none of its own" if aim is None else f"{aim:g} µs for all of Penstock's processes together"


def _counts(one: Mapping[str, Any]) -> bool:
    return "cpu_us" in one


def _where(job: Mapping[str, Any]) -> str:
    told = job["environment"]
    before, after = (" / ".join(f"{load:g}" for load in told[name]) for name in ("load_before", "load_after"))
    return (
        f"Measured {told['date']} at commit {told['commit']} on {told['processor']}, {told['cores']} cores, "
        f"Python {told['python']}; median of {job['rounds']} rounds; load average before {before}, after {after}."
    )


def _who(measured: Sequence[Mapping[str, Any]]) -> str:
    """Each contender once."""
    known = {one["name"]: one for job in measured for one in job["contenders"]}
    lines = [f"- **{one['name']}** ({one['version']}): {one['says']}." for one in known.values()]
    return "\n".join(["Who they are:", "", *lines])
