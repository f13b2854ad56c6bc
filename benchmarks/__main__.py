"""`python -m benchmarks`: measure, print the table, leave the figures in build/bench."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

import rich.console

from benchmarks import case, cases, gate, machine, report, together


def main(arguments: Sequence[str] | None = None) -> int:
    """0, also when a target is missed; with --check 1 then."""
    told = _parser().parse_args(arguments)
    chosen = [one for one in cases.ALL if not told.only or _is_named(one.name, told.only)]
    if not chosen:
        print(f"no case {', '.join(told.only)}; there are: {', '.join(one.name for one in cases.ALL)}", file=sys.stderr)
        return 2
    if told.gate or told.record:
        gated = [one for one in chosen if one in gate.gated()]
        return gate.record(gated) or 0 if told.record else gate.run(gated)
    console = rich.console.Console(width=150 if not sys.stdout.isatty() else None)
    effort = case.Effort(rounds=2 if told.quick else told.rounds, quick=told.quick)
    environment = {**machine.describe(), "quick": told.quick, "rounds": effort.rounds, "load_before": machine.load_average()}
    measured = []
    for one in chosen:
        print(f"{one.name} …", file=sys.stderr, flush=True)
        measured.append(one.measure(effort))
    measured += together.sums(measured)
    report.write(told.out, measured, {**environment, "load_after": machine.load_average()})
    report.show(console, measured)
    console.print(f"wrote {told.out / 'summary.json'} and results.json", highlight=False)
    missed = [one.name for one in measured if one.misses]
    return 1 if told.check and missed else 0


def _is_named(name: str, wanted: Sequence[str]) -> bool:
    """By its name, or by the words its name begins with."""
    return any(name == one or name.startswith(f"{one}_") for one in wanted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="this case, or all whose names begin with it")
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds; its figures mean nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--gate", action="store_true", help="a minute: exit with 1 when a ratio is below the recorded one")
    parser.add_argument("--record", action="store_true", help="record the ratios that --gate compares with")
    parser.add_argument("--rounds", type=_at_least_5, default=5, metavar="N", help="rounds per case, 5 (default) or more")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("build/bench"), metavar="DIR", help="default build/bench"
    )
    return parser


def _at_least_5(text: str) -> int:
    rounds = int(text)
    if rounds < 5:
        raise argparse.ArgumentTypeError("a median of fewer than 5 rounds says little")
    return rounds


if __name__ == "__main__":
    sys.exit(main())
