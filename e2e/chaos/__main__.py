"""`python -m e2e.chaos`: every fault, judged, and the table in docs/reliability.md. Ends with 1 when a verdict is bad."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import random
import shutil
import sys
import tempfile
import time

from e2e.chaos import faults, kills, page, processes, report, sinks, stage

_ROOT = pathlib.Path(__file__).parents[2]
_LOAD = "4 clients (2 HTTP, 2 gRPC), up to 12 events a request, a tenth sent again, about 5 % bad"


def main() -> int:
    """Run what was asked for."""
    told = _arguments()
    scale = stage.SHORT if told.short else stage.LONG
    scale = dataclasses.replace(scale, kills=told.kills or scale.kills)
    chosen = [*faults.EACH, *sinks.EACH, *(kills.together() if told.short else kills.each())]
    chosen = [fault for fault in chosen if not told.only or any(part in fault.name for part in told.only)]
    seed = told.seed if told.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}: repeat with --seed {seed}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    reports = _run(chosen, folder, seed, scale, deadline=time.monotonic() + told.minutes * 60.0)
    names = [fault.name for fault in (*faults.EACH, *sinks.EACH, *kills.together()[:1], *kills.each())]
    entries = page.summarise(_ROOT / "build" / "chaos" / "summary.json", reports, _command(seed), names)
    if told.page:
        page.write(_ROOT / "docs" / "reliability.md", entries, _LOAD)
    missing = len(chosen) - len(reports)
    if missing:
        print(f"{missing} faults did not happen within {told.minutes:g} minutes: " + ", ".join(f.name for f in chosen[-missing:]))
    good = all(one.good for one in reports) and not missing
    if good:
        shutil.rmtree(folder)
    else:
        print(f"what was left behind is in {folder}")
    return 0 if good else 1


def _command(seed: int) -> str:
    """What was asked for, with the seed that was chosen."""
    asked = sys.argv[1:] if "--seed" in sys.argv else [*sys.argv[1:], "--seed", str(seed)]
    return " ".join(["python -m e2e.chaos", *asked])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="each fault once and briefly, as in make test")
    parser.add_argument("--kills", type=int, help=f"kills at each named point [{stage.LONG.kills}, short: {stage.SHORT.kills}]")
    parser.add_argument("--seed", type=int, help="of the load and of when things happen [random, printed]")
    parser.add_argument("--only", action="append", metavar="TEXT", help="faults with this in their name; may be repeated")
    parser.add_argument("--minutes", type=float, default=60.0, help="no fault is begun after so many [60]")
    parser.add_argument("--page", action="store_true", help="write the table into docs/reliability.md")
    return parser.parse_args()


def _run(chosen: list[stage.Fault], folder: pathlib.Path, seed: int, scale: stage.Scale, deadline: float) -> list[report.Report]:
    reports: list[report.Report] = []
    with processes.Nursery(folder / "zygote") as nursery:
        for number, fault in enumerate(chosen):
            if time.monotonic() > deadline:
                break
            one = stage.happen(fault, nursery, folder, seed + number, scale)
            reports.append(one)
            _say(one)
    return reports


def _say(one: report.Report) -> None:
    of = one.verdict
    counts = f"{of.acknowledged:>6,} acknowledged, {of.landed:>7,} rows" if of else "not judged"
    verdict = "good" if one.good else "BAD"
    print(
        f"{verdict:4} {one.name:34} x{one.times:<3} {counts}, recovery {one.recovery_seconds:.1f} s, seed {one.seed}"
        f" ({one.seconds:.0f} s)",
        flush=True,
    )
    if not one.good:
        print("\n".join([*(of.examples if of else ()), one.error[-3000:]]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
