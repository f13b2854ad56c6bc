"""`make fuzz`: every target in turn with fresh inputs until the time is over; what fails is kept and shown.

A failing input is kept in tests/fuzz/findings, smallest form first, and run again by every brief run from then on.
"""

from __future__ import annotations

import argparse
import faulthandler
import pathlib
import secrets
import sys
import time
import traceback
from collections import Counter

import hypothesis
from hypothesis import database
from tests.fuzz import targets

FINDINGS = pathlib.Path(__file__).with_name("findings")
_EXAMPLES_A_ROUND = 400
_LONGEST_SILENCE_SECONDS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("target", nargs="*", choices=[[], *targets.TARGETS])
    told = parser.parse_args()
    sys.exit(fuzz(told.target or list(targets.TARGETS), told.seconds, told.seed))


def fuzz(names: list[str], seconds: float, seed: int) -> int:
    """Rounds over the targets; 1 if anything was found."""
    deadline, tried, failed = time.monotonic() + seconds, Counter[str](), Counter[str]()
    print(f"seed {seed}")  # noqa: T201
    for number in range(1 << 30):
        for name in names:
            if time.monotonic() > deadline:
                return _told(tried, failed)
            faulthandler.dump_traceback_later(_LONGEST_SILENCE_SECONDS, exit=True)
            if error := _round(name, seed + number, tried):
                failed[name] += 1
                print("".join(traceback.format_exception(error)), flush=True)  # noqa: T201
    return _told(tried, failed)


def _round(name: str, seed: int, tried: Counter[str]) -> BaseException | None:
    settings = hypothesis.settings(
        max_examples=_EXAMPLES_A_ROUND,
        deadline=None,
        print_blob=True,
        database=database.DirectoryBasedExampleDatabase(FINDINGS),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        tried[name] += targets.run(name, settings, seed)
    except Exception as error:  # whatever it is, it is the finding
        return error
    return None


def _told(tried: Counter[str], failed: Counter[str]) -> int:
    for name in tried:
        print(f"{name}: {tried[name]:,} examples, {failed[name]} failing rounds")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    main()
