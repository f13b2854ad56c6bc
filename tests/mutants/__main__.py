"""`python -m tests.mutants`: break each invariant in a copy of the tree and see whether the tests notice."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tests.mutants import catalogue, page

_MOST_SECONDS = 300
_COPIED = ("services", "tests", "benchmarks", "examples", "e2e", "docs", "protos", "pyproject.toml")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`caught_by` is the first test that failed; empty when none did."""

    mutant: catalogue.Mutant
    caught_by: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a mutant survives."""
    told = _parser().parse_args(arguments)
    chosen = [one for one in catalogue.load() if not told.only or any(word in one.name for word in told.only)]
    with tempfile.TemporaryDirectory(prefix="penstock-mutants-") as scratch:
        verdicts = [_judged(mutant, pathlib.Path(scratch) / str(number)) for number, mutant in enumerate(chosen)]
    told.out.mkdir(parents=True, exist_ok=True)
    rows = [{"name": one.mutant.name, "caught_by": one.caught_by, "seconds": round(one.seconds, 1)} for one in verdicts]
    (told.out / "summary.json").write_text(json.dumps(rows, indent=1) + "\n")
    survivors = [one.mutant.name for one in verdicts if not one.caught_by]
    if not told.only and not survivors:
        page.write([(one.mutant, one.caught_by) for one in verdicts])
    print(
        f"{len(verdicts) - len(survivors)} of {len(verdicts)} mutants were caught"
        + "".join(f"\n  SURVIVED: {name}" for name in survivors)
    )
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="WORDS", help="those whose names hold these words; docs stay as they are"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("build/mutants"), metavar="DIR", help="default build/mutants"
    )
    return parser


def _judged(mutant: catalogue.Mutant, root: pathlib.Path) -> Verdict:
    began = time.monotonic()
    _copy(root)
    catalogue.plant(mutant, root)
    caught_by = _first_failure(mutant, root)
    shutil.rmtree(root)
    verdict = Verdict(mutant=mutant, caught_by=caught_by, seconds=time.monotonic() - began)
    print(f"{verdict.seconds:6.1f} s  {mutant.name}: {caught_by or 'SURVIVED'}", flush=True)
    return verdict


def _copy(root: pathlib.Path) -> None:
    root.mkdir()
    for name in _COPIED:
        source = catalogue.ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", ".penstock", "*.duckdb"))
        else:
            shutil.copy(source, root / name)


def _first_failure(mutant: catalogue.Mutant, root: pathlib.Path) -> str:
    """The test that noticed, "" for none. Raises RuntimeError when the tests could not be run at all."""
    # The processes that tests start must be broken too, and the installed package leads to the whole tree.
    environment = {**os.environ, "PYTHONPATH": str(root / "services"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *mutant.tests]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{mutant.tests[0]} (did not end)"
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if done.returncode not in (0, 1) or (done.returncode and not failed):
        raise RuntimeError(f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return failed[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
