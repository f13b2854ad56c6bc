"""The table of mutants in docs/reliability.md, written from a run in which all were caught."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from tests.mutants import catalogue

PAGE = catalogue.ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"


def write(caught: Iterable[tuple[catalogue.Mutant, str]]) -> None:
    """Replace what stands between the marks."""
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(caught)}\n{END}{after}")


def table(caught: Iterable[tuple[catalogue.Mutant, str]]) -> str:
    head = ["| broken on purpose | where | noticed by |", "|---|---|---|"]
    rows = (f"| {mutant.name} | `{_place(mutant)}` | {_sentence(test)} |" for mutant, test in caught)
    return "\n".join(itertools.chain(head, rows))


def _place(mutant: catalogue.Mutant) -> str:
    return mutant.file.removeprefix("services/penstock/")


def _sentence(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{name.partition('[')[0].removeprefix('test_').replace('_', ' ')} (`{path.removeprefix('tests/')}`)"
