"""`make fuzz`: every target in turn with fresh inputs until the time is over; what fails is kept and shown.

A failing input is kept in tests/fuzz/findings, smallest form first, and run again by every brief run from then on.
"""

from __future__ import annotations

import argparse
import faulthandler
import pathlib
import random
import secrets
import sys
import time
import traceback
from collections import Counter, defaultdict

import hypothesis
from hypothesis import core, database
from hypothesis.internal.conjecture import engine
from tests.fuzz import targets

FINDINGS = pathlib.Path(__file__).with_name("findings")
_EXAMPLES_A_ROUND = 400
_LONGEST_SILENCE_SECONDS = 300
_LONGEST_SHRINKING_SECONDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("target", nargs="*", choices=[[], *targets.TARGETS])
    told = parser.parse_args()
    # Five minutes of it for each finding would go on long after the time is over.
    engine.MAX_SHRINKING_SECONDS = _LONGEST_SHRINKING_SECONDS
    sys.exit(fuzz(told.target or list(targets.TARGETS), told.seconds, told.seed))


def fuzz(names: list[str], seconds: float, seed: int) -> int:
    """Rounds over the targets; 1 if anything was found. Each target has its share of the time, at least until all had a turn."""
    began = time.monotonic()
    tried, failed = defaultdict[str, targets.Tried](targets.Tried), Counter[str]()
    _say(f"seed {seed}, {seconds:g} s, {len(names)} targets")
    # With `hypothesis.seed` nothing that is found is kept.
    core.threadlocal._hypothesis_global_random = random.Random(seed)
    for _ in range(1 << 30):
        for place, name in enumerate(names):
            left = began + seconds - time.monotonic()
            if left <= 0:
                return _told(tried, failed)
            stop = time.monotonic() + left / (len(names) - place)
            faulthandler.dump_traceback_later(_LONGEST_SILENCE_SECONDS, exit=True, file=sys.__stderr__)
            if error := _round(name, tried[name], stop):
                failed[name] += 1
                _say(f"{name} FAILS:\n" + "".join(traceback.format_exception(error)))
        _say(f"{time.monotonic() - began:,.0f} s: {sum(one.inputs for one in tried.values()):,} inputs, {failed.total()} found")
    return _told(tried, failed)


def _round(name: str, tried: targets.Tried, stop: float) -> BaseException | None:
    settings = hypothesis.settings(
        max_examples=_EXAMPLES_A_ROUND,
        # What was found before is run by the brief tests; here it would be deleted when it passes unseen, the time being over.
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        deadline=None,
        print_blob=True,
        database=database.DirectoryBasedExampleDatabase(FINDINGS),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        targets.run(name, settings, tried=tried, until=lambda: time.monotonic() > stop)
    except Exception as error:  # whatever it is, it is the finding
        return error
    return None


def _told(tried: dict[str, targets.Tried], failed: Counter[str]) -> int:
    faulthandler.cancel_dump_traceback_later()
    for name, one in tried.items():
        _say(f"{name}: {one.inputs:,} inputs, {failed[name]} failing rounds")
    _say("nothing was found" if not failed else f"found: {', '.join(failed)}; kept in {FINDINGS.name}/, mend and commit them")
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
