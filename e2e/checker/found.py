"""What was found after a fault: rows, dead letters, the lanes' own ledgers. Plain values, whatever they were read from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a store; `place` is its item ordinal as text, `digest` that of its content."""

    id: str
    place: str
    digest: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A sink's rows, in the order they landed where `ordered`. `exactly_once`: no row may be there twice."""

    rows: Sequence[Row]
    exactly_once: bool = True
    ordered: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter; `letter` is its own id, `id` and `sha` those of the event in it, `places` what failed of it."""

    letter: str
    sink: str
    id: str
    sha: str
    places: tuple[str, ...]
    attempt: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a lane says of itself. `rows_replayed` stand beside the equations."""

    unexplained: int
    lost: int
    read: int
    duplicates: int
    dead_lettered_events: int
    written: int
    dead_lettered_rows: int
    rows_replayed: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look during the run: the ids below a lane's committed offset, and what was there a moment later."""

    sink: str
    committed: frozenset[str]
    rows: frozenset[tuple[str, str]]
    """(id, place) in the store."""
    letters: frozenset[tuple[str, str]]
