"""The events of a long load and what each should make, worked out for any range of numbers at once.

An event is a function of its number: nothing is kept of what was sent but what was answered. Pure; it shares no code with
what makes the rows.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy import typing as npt

from e2e.checker import columns

CUSTOMERS = 24
_TEN_THOUSAND = 10_000

Values = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How many of ten thousand events are of each kind; the others land. More than a fifth bad would rightly pause a lane."""

    refused: int = 50
    """By the door, one by one."""
    filtered: int = 200
    failing: int = 2
    """In the transform: a letter for each row."""
    rejected: int = 2
    """By the store: a letter for each row."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Of a range of numbers, one entry each."""

    number: Values
    value: Values
    items: Values
    """How many; -1 is an event without the array."""
    refused: npt.NDArray[np.bool_]
    filtered: npt.NDArray[np.bool_]
    failing: npt.NDArray[np.bool_]
    rejected: npt.NDArray[np.bool_]


def draw(first: int, count: int, mix: Mix) -> Drawn:
    """What the events `first` and following are."""
    return of(np.arange(first, first + count, dtype=np.int64), mix)


def of(number: Values, mix: Mix) -> Drawn:
    """What these events are."""
    mixed = (number * 2_654_435_761 >> 8) & 0xFFFFFF
    kind = (mixed >> 6) % _TEN_THOUSAND
    edges = np.cumsum([0, mix.refused, mix.filtered, mix.failing, mix.rejected])
    kinds = [(kind >= low) & (kind < high) for low, high in itertools.pairwise(edges)]
    return Drawn(
        number=number,
        value=np.where(kinds[3], -1 - mixed, mixed),
        items=np.where(mixed & 63 == 1, -1, np.array([1, 1, 1, 2])[mixed & 3]),
        refused=kinds[0],
        filtered=kinds[1],
        failing=kinds[2],
        rejected=kinds[3],
    )


def payloads(drawn: Drawn) -> list[bytes]:
    """The documents, in order."""
    notes = np.select([drawn.filtered, drawn.failing], ['"drop"', '"boom"'], "null")
    customers = np.where(drawn.refused, '"nobody"', (drawn.number % CUSTOMERS).astype(str))
    listed = zip(
        drawn.number.tolist(), customers.tolist(), drawn.value.tolist(), notes.tolist(), drawn.items.tolist(), strict=True
    )
    return [_payload(*one) for one in listed]


def _payload(number: int, customer: str, value: int, note: str, items: int) -> bytes:
    head = f'{{"id":"e{number}","customer":{customer},"number":{number},"value":{value}'
    return f'{head},"note":{note},"items":{_items(value, items)}}}'.encode()


def _items(value: int, items: int) -> str:
    return "[]" if items < 0 else str([(value + at) % 1000 for at in range(items)])


def expected(count: int, mix: Mix) -> columns.Expected:
    """Of all events below `count`."""
    drawn = draw(0, count, mix)
    places = np.where(drawn.items == 2, 0b11, 0b1).astype(np.uint8)
    none = drawn.refused | drawn.filtered
    failed = drawn.failing | drawn.rejected
    return columns.Expected(
        rows=np.where(none | failed, 0, places).astype(np.uint8),
        letters=np.where(failed & ~none, places, 0).astype(np.uint8),
    )


def rows(number: Values, place: Values, value: Values, item: Values, mix: Mix) -> columns.Rows:
    """Rows of a store with what it holds of each. A NULL is -1; the place of a row without an item is 0."""
    drawn = of(number, mix)
    wanted = np.where(drawn.items < 0, -1, (drawn.value + place) % 1000)
    return columns.Rows(number=number, place=place, good=(value == drawn.value) & (item == wanted))
