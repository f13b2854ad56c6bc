"""Results as files and as a table."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.table

from benchmarks import case

_VERDICTS = {True: "met", False: "[bold red]MISSED[/]", None: ""}


def write(folder: pathlib.Path, measured: Sequence[case.Measured], environment: dict[str, Any]) -> None:
    """`summary.json`, one entry per case, and `results.json` with every sample."""
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "summary.json", [one.summary() for one in measured])
    _dump(folder / "results.json", {"environment": environment, "cases": [raw(one) for one in measured]})


def _dump(path: pathlib.Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n")


def raw(measured: case.Measured) -> dict[str, Any]:
    """A case with everything known of it."""
    return {
        **measured.summary(),
        "says": measured.says,
        "events": measured.events,
        "misses": measured.misses,
        "samples": [
            {"cpu_us": round(sample.product_us, 4), "reference_cpu_us": round(sample.reference_us, 4)}
            for sample in measured.samples
        ],
        "extra": {name: value for name, value in measured.extra.items() if name not in ("faults", "target")},
    }


def allocations(found: Mapping[str, Any]) -> tuple[str, str]:
    """Bytes per event at once, Arrow's among them, and collections per million events; product / reference."""
    if not found:
        return "", ""
    sides = [found["product"], found["reference"]]
    return (
        " / ".join(f"{side['peak_bytes'] + side['arrow_bytes']:,.0f}" for side in sides),
        " / ".join(f"{side['collections']:,.0f}" for side in sides),
    )


def show(console: rich.console.Console, measured: Sequence[case.Measured]) -> None:
    """The table, then each missed target by name."""
    table = rich.table.Table("case", "per", "CPU µs", "range", "reference", "ratio", "B/event", "GC", "target", "")
    for one in measured:
        told = one.summary()
        low, high = told["range"]["cpu_us_per_event"]
        table.add_row(
            one.name,
            one.unit,
            f"{one.cpu_us:.3f}",
            f"{low:.3f} – {high:.3f}",
            f"{one.reference_us:.3f}",
            f"{one.ratio:.2f}×",
            *allocations(told["allocated"]),
            told["target"],
            _VERDICTS[told["meets_target"]],
        )
    console.print(table)
    for one in measured:
        if one.misses:
            console.print(f"[bold red]missed[/] {one.name}: {one.misses}", highlight=False)
