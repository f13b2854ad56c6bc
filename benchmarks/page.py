"""Rewriting the tables of docs/performance.md: `python -m benchmarks.page` after `make bench` or `make bench-peers`.

The results are copied beside this file, so that the page and the figures it quotes are committed together.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers import table as peers_table

RESULTS = pathlib.Path(__file__).with_name("results.json")
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "performance.md"
PEERS_RESULTS = pathlib.Path(__file__).parent / "peers" / "results.json"
_BEGIN, _END = "<!-- begin: python -m benchmarks.page -->", "<!-- end -->"
_PEERS_BEGIN = "<!-- begin: python -m benchmarks.page, peers -->"
_LATEST, _LATEST_PEERS = pathlib.Path("build/bench/results.json"), pathlib.Path("build/bench/peers.json")


class NoTableError(Exception):
    """The page has no place for the tables."""


def rewritten(page: str, results: dict[str, Any]) -> str:
    """The page with the tables of these results. Raises NoTableError."""
    return _replaced(page, _BEGIN, lambda: tables(results))


def peers_rewritten(page: str, results: dict[str, Any]) -> str:
    """The page with the peers' tables of these results. Raises NoTableError."""
    return _replaced(page, _PEERS_BEGIN, lambda: peers_table.tables(results))


def _replaced(page: str, mark: str, text: Callable[[], str]) -> str:
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise NoTableError(f'{PAGE.name} needs a line "{mark}" and one "{_END}"')
    return f"{before}{begin}\n{text()}\n{end}{after}"


def tables(results: dict[str, Any]) -> str:
    """The figures, and where they were measured."""
    lines = ["| case | CPU µs | range | reference µs | ratio | target | |", "|---|---|---|---|---|---|---|"]
    lines += [_row(case) for case in results["cases"]]
    lines += ["", *_allocations(results["cases"]), "What each case does:", ""]
    lines += [f"- `{case['name']}`, per {case['unit']}: {case['says']}.{_further(case)}" for case in results["cases"]]
    missed = [case for case in results["cases"] if case["misses"]]
    if missed:
        lines += ["", "Missed:", ""]
        lines += [f"- `{case['name']}`: {case['misses']}." for case in missed]
    return "\n".join([*lines, "", _where(results["environment"])])


def _row(case: dict[str, Any]) -> str:
    low, high = case["range"]["cpu_us_per_event"]
    met = {True: "met", False: "**missed**", None: ""}[case["meets_target"]]
    cells = [
        f"`{case['name']}`",
        f"{case['cpu_us_per_event']:.3f}",
        f"{low:.3f} – {high:.3f}",
        f"{case['reference_cpu_us_per_event']:.3f}",
        f"{case['ratio']:.2f}×",
        case["target"],
        met,
    ]
    return f"| {' | '.join(cells)} |"


def _allocations(measured: Sequence[dict[str, Any]]) -> list[str]:
    """What a call holds and how often the collector stops it, product and reference side by side."""
    if not any(case.get("allocated") for case in measured):
        return []
    lines = [
        "Memory of one call per event (or item, or row), and the collector's work per million of them, product / reference:",
        "",
        "| case | Python and numpy, peak bytes | Arrow, bytes held | blocks held | collections | pauses, ms |",
        "|---|---|---|---|---|---|",
    ]
    for case in measured:
        if found := case.get("allocated"):
            sides = [found["product"], found["reference"]]
            cells = [
                " / ".join(f"{side['peak_bytes']:,.0f}" for side in sides),
                " / ".join(f"{side['arrow_bytes']:,.0f}" for side in sides),
                " / ".join(f"{side['blocks']:,.2f}" for side in sides),
                " / ".join(f"{side['collections']:,.0f}" for side in sides),
                " / ".join(f"{side['pause_microseconds'] / 1000:,.1f}" for side in sides),
            ]
            lines.append(f"| `{case['name']}` | {' | '.join(cells)} |")
    return [*lines, ""]


def _further(case: dict[str, Any]) -> str:
    told = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in case["extra"].items())
    return f" ({told})" if told else ""


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_short, value))
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _where(told: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items())
    loads = " / ".join(f"{load:g}" for load in told["load_before"]), " / ".join(f"{load:g}" for load in told["load_after"])
    return (
        f"Measured {told['date']} at commit {told['commit']} on {told['processor']}, {told['cores']} cores, "
        f"{told['memory_gib']} GiB, {told['system']}; Python {told['python']}, {packages}; median of {told['rounds']} rounds; "
        f"load average before {loads[0]}, after {loads[1]}."
    )


def main() -> int:
    """Take over what was measured last, or say that there is nothing."""
    found = [
        _taken_over(_LATEST, RESULTS, rewritten, lambda results: bool(results["environment"]["quick"])),
        _taken_over(_LATEST_PEERS, PEERS_RESULTS, peers_rewritten, lambda results: any(job["quick"] for job in results["jobs"])),
    ]
    if not any(found):
        print(f"no figures in {_LATEST.parent}: run make bench or make bench-peers first", file=sys.stderr)
        return 2
    return 0


def _taken_over(
    latest: pathlib.Path,
    kept: pathlib.Path,
    rewrite: Callable[[str, dict[str, Any]], str],
    is_smoke: Callable[[dict[str, Any]], bool],
) -> bool:
    """Copy the results beside their harness and quote them in the page; False where there are none worth it."""
    if not latest.exists():
        return False
    results = json.loads(latest.read_text())
    if is_smoke(results):
        print(f"{latest} is of a smoke run, whose figures mean nothing", file=sys.stderr)
        return False
    PAGE.write_text(rewrite(PAGE.read_text(), results))
    shutil.copy(latest, kept)
    print(f"wrote {PAGE.name} and {kept.name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
