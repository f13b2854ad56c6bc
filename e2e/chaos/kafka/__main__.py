"""`python -m e2e.chaos.kafka`: every fault over Kafka, judged, and a table in docs/reliability.md. Ends with 1 if one is bad."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import pathlib
import random
import shutil
import sys
import tempfile
import time

from e2e.chaos import processes, report
from e2e.chaos.kafka import brokers, faults, page, stage, stores, theatre

_ROOT = pathlib.Path(__file__).parents[3]
EACH = [*faults.EACH, *brokers.EACH, *brokers.THREE, *stores.EACH]


def main() -> int:
    """Run what was asked for, seed by seed."""
    told = _arguments()
    scale = stage.SHORT if told.short else stage.LONG
    scale = dataclasses.replace(scale, events=told.events or scale.events)
    if told.page_only:
        page.write(_PAGE, _SUMMARY, EACH)
        return 0
    chosen = [fault for fault in EACH if not told.only or any(part in fault.name for part in told.only)]
    seed = told.seed if told.seed is not None else random.SystemRandom().randrange(1_000_000)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Brokers are away on purpose, all the time.
    print(f"seed {seed}: repeat with --seed {seed}", flush=True)
    if not (told.only or told.missing):
        page.forget(_SUMMARY)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-kafka-"))
    deadline = time.monotonic() + told.minutes * 60.0
    todo = [
        (seed, fault)
        for seed in range(seed, seed + told.seeds)
        for fault in chosen
        if not (told.missing and page.has(_SUMMARY, fault, seed, scale))
    ]
    good, missing = _run(todo, folder, scale, deadline, told.page)
    if missing:
        print(f"did not happen within {told.minutes:g} minutes: {', '.join(missing)}")
    if good:
        shutil.rmtree(folder)
    else:
        print(f"what was left behind is in {folder}")
    return 0 if good and not missing else 1


_SUMMARY = _ROOT / "build" / "chaos" / "summary.json"
_PAGE = _ROOT / "docs" / "reliability.md"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos.kafka", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few thousand events each")
    parser.add_argument("--events", type=int, help=f"acknowledged events of each fault [{stage.LONG.events}]")
    parser.add_argument("--seed", type=int, help="of the first round [random, printed]")
    parser.add_argument("--seeds", type=int, default=3, help="how often all of it, with a seed more each time [3]")
    parser.add_argument("--only", action="append", metavar="TEXT", help="faults with this in their name; may be repeated")
    parser.add_argument("--minutes", type=float, default=180.0, help="no fault is begun after so many [180]")
    parser.add_argument(
        "--missing", action="store_true", help="only what has not been good yet with this seed and so many events"
    )
    parser.add_argument("--page", action="store_true", help="write the table into docs/reliability.md after each fault")
    parser.add_argument("--page-only", action="store_true", help="write it from what is kept, and do nothing else")
    return parser.parse_args()


def _run(
    todo: list[tuple[int, stage.Fault]], folder: pathlib.Path, scale: stage.Scale, deadline: float, write: bool
) -> tuple[bool, list[str]]:
    """Whether all was good, and what there was no time for. Brokers are started once for all faults that want as many."""
    good, missing = True, list[str]()
    with processes.Nursery(folder / "zygote") as nursery:
        for count in sorted({fault.brokers for _, fault in todo}):
            with contextlib.ExitStack() as stack:
                servers = stack.enter_context(theatre.opened(count))
                for seed, fault in todo:
                    if fault.brokers != count:
                        continue
                    if time.monotonic() > deadline:
                        missing.append(f"{fault.name} {seed}")
                        continue
                    told = stage.happen(fault, nursery, servers, folder, seed, scale)
                    page.keep(_SUMMARY, fault, told, scale, "python -m e2e.chaos.kafka")
                    if write:
                        page.write(_PAGE, _SUMMARY, EACH)
                    _say(told)
                    good = good and told.good
    return good, missing


def _say(one: report.Report) -> None:
    of = one.verdict
    counts = f"{of.acknowledged:>7,} acknowledged, {of.landed:>7,} rows, {of.dead_lettered:>6,} letters" if of else "not judged"
    times = "/".join(f"{seconds:.0f}" for seconds in one.recoveries)
    print(
        f"{'good' if one.good else 'BAD':4} {one.name:32} x{one.times:<3} {counts}, recovery {times} s, seed {one.seed}"
        f" ({one.seconds:.0f} s)",
        flush=True,
    )
    if not one.good:
        print("\n".join([str(of), one.error[-6000:]]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
