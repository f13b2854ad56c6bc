"""`python -m benchmarks.peers`: measure, and leave the figures in build/bench/peers.json."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import broker, contenders, jobs, measuring


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 when a contender's rows were not the reference's, or it failed."""
    told = _parser().parse_args(arguments)
    chosen = [one for one in contenders.ALL if not told.who or any(one.name.casefold().startswith(who) for who in told.who)]
    results = _so_far(told.out)
    with tempfile.TemporaryDirectory(prefix="penstock-peers-") as folder, broker.started() as server:
        bench = measuring.Bench(server, pathlib.Path(folder))
        for job in jobs.ALL:
            if not told.only or job.name in told.only:
                results[job.name] = bench.measure(job, chosen, 1 if told.quick else told.rounds, quick=told.quick)
                _write(told.out, results)
    print(f"wrote {told.out}; python -m benchmarks.page takes it over into the docs")
    return 1 if any(one.get("fault") for job in results.values() for one in job["contenders"]) else 0


def _so_far(path: pathlib.Path) -> dict[str, Any]:
    """What other invocations have measured: jobs can be measured one at a time."""
    return {job["name"]: job for job in json.loads(path.read_text())["jobs"]} if path.exists() else {}


def _write(path: pathlib.Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = [results[job.name] for job in jobs.ALL if job.name in results]
    path.write_text(json.dumps({"jobs": ordered}, indent=2, ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", action="append", choices=[job.name for job in jobs.ALL], help="this job")
    parser.add_argument("--who", action="append", type=str.casefold, metavar="NAME", help="contenders whose name begins so")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="3 (default); 5 for figures to be published")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/bench/peers.json"), metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
