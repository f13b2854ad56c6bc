"""Reading the list of breakages, and breaking a copy of the tree with one of them."""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parents[2]
LIST = pathlib.Path(__file__).with_name("mutants.toml")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One breakage: `old` stands exactly once in `file` and becomes `new`; at least one of `tests` must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class StaleError(Exception):
    """The code has moved on from under a mutant; the message says which text is missing where."""


def load() -> list[Mutant]:
    """All mutants, in the order of the list."""
    told = tomllib.loads(LIST.read_text())
    return [Mutant(**one | {"tests": tuple(one["tests"])}) for one in told["mutant"]]


def plant(mutant: Mutant, root: pathlib.Path) -> None:
    """Break the tree at `root`. Raises StaleError when the text to break is not there exactly once."""
    path = root / mutant.file
    text = path.read_text()
    if (found := text.count(mutant.old)) != 1:
        raise StaleError(f"{mutant.name!r}: its text stands {found} times in {mutant.file}, not once: {mutant.old.strip()!r}")
    path.write_text(text.replace(mutant.old, mutant.new))
