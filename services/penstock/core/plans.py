"""Which stretches of one partition may have left for the store, and how each is cut: committed before the write leaves.

For stores that drop an insert whose token they know. A token only helps if a retry sends the same rows under it, so what a
batch is made of must outlive the process that made it; see docs/design/0016-plans-before-writes.md. Pure: a book of plans,
and the text that carries it with the committed offset.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import operator
import re
from collections.abc import Iterable, Mapping

from penstock.core import addresses

MOST_BYTES = 1_400
"""Of the text, with room for one more plan. What is left of ledger.MAX_METADATA_BYTES is for the counts and for cuts: one
batch at a time is cut, in halves, so there are at most some twenty."""

MOST_AHEAD = 64
"""Batches between the oldest one without an outcome and the newest: a store remembers only so many tokens."""

_PLAN_BYTES = 48
_POSITION = r"\d+(?:\.\d+){0,2}"
_PLAN = re.compile(rf"({_POSITION})-({_POSITION})(@[0-9a-f]*)?(!)?((?:/\d+:[\d.,]*)*)")


class PlansError(ValueError):
    """A text that no release up to this one wrote."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How the rows for one table are cut: those before `settled` have their outcome, and a piece ends at each of `at`."""

    settled: addresses.Position | None = None
    at: tuple[addresses.Position, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One batch: everything in [start, end), with rows as `revision` makes them. `cuts` by the table's place in the sink's
    list. `settled`: each of its rows has its outcome, and it waits for older ones."""

    start: addresses.Position
    end: addresses.Position
    revision: str
    settled: bool = False
    cuts: Mapping[int, Cut] = dataclasses.field(default_factory=dict)

    def pieces(self, table: int) -> list[tuple[addresses.Position, addresses.Position, bool]]:
        """(start, end, settled) of the stretches in which the rows of `table` are written, in order."""
        cut = self.cuts.get(table, Cut(settled=self.end) if self.settled else Cut())
        settled = cut.settled or self.start
        bounds = [settled, *(place for place in cut.at if place > settled), self.end]
        found = [(start, end, False) for start, end in itertools.pairwise(bounds) if start < end]
        return ([(self.start, settled, True)] if settled > self.start else []) + found


class Book:
    """The plans of one partition, ascending and apart from each other. Raises PlansError for a text it can't read."""

    def __init__(self, text: str = "") -> None:
        self._plans = list(_read(text))
        self._numbers = {plan.start: 0 for plan in self._plans}
        self._begun = 0

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(self._plans)

    def __getitem__(self, start: addresses.Position) -> Plan:
        return self._plans[self._place(start)]

    def __contains__(self, start: addresses.Position) -> bool:
        return start in self._numbers

    def begin(self, start: addresses.Position, end: addresses.Position, revision: str) -> Plan:
        """A new batch. Never called without room, and never for what is planned already."""
        plan = Plan(start=start, end=end, revision=revision)
        at = bisect.bisect(self._plans, start, key=operator.attrgetter("start"))
        neighbours = [*self._plans[max(0, at - 1) : at], plan, *self._plans[at : at + 1]]
        if any(before.end > after.start for before, after in itertools.pairwise(neighbours)):
            raise ValueError(f"{start} to {end} is planned already")
        self._plans.insert(at, plan)
        self._begun += 1
        self._numbers[start] = self._begun
        return plan

    def cut(self, start: addresses.Position, table: int, cut: Cut) -> None:
        """The batch at `start` goes on in these pieces."""
        plan = self[start]
        self._put(dataclasses.replace(plan, cuts={**plan.cuts, table: cut}))

    def settle(self, start: addresses.Position) -> None:
        """Each row of the batch at `start` has its outcome. Nothing happens where it was forgotten before."""
        if start in self:
            self._put(dataclasses.replace(self[start], settled=True, cuts={}))
            self._merge()

    def keep(self, revision: str) -> list[Plan]:
        """Give up what another revision has planned and not settled; what was given up."""
        foreign = [plan for plan in self._plans if not plan.settled and plan.revision != revision]
        self._plans = [plan for plan in self._plans if plan not in foreign]
        for plan in foreign:
            self._numbers.pop(plan.start, None)
        return foreign

    def forget(self, position: addresses.Position) -> None:
        """Everything below `position` is finished and never read again."""
        while self._plans and self._plans[0].end <= position:
            self._numbers.pop(self._plans.pop(0).start, None)

    @property
    def has_room(self) -> bool:
        """Whether one more batch may begin."""
        waiting = [self._numbers[plan.start] for plan in self._plans if not plan.settled]
        if waiting and self._begun - min(waiting) >= MOST_AHEAD - 1:
            return False
        return len(self.text()) + _PLAN_BYTES <= MOST_BYTES

    def text(self) -> str:
        """For the offset's metadata; empty where there is nothing to remember."""
        return ";".join(_written(self._plans))

    def _place(self, start: addresses.Position) -> int:
        at = bisect.bisect_left(self._plans, start, key=operator.attrgetter("start"))
        if at == len(self._plans) or self._plans[at].start != start:
            raise KeyError(start)
        return at

    def _put(self, plan: Plan) -> None:
        self._plans[self._place(plan.start)] = plan

    def _merge(self) -> None:
        """Settled neighbours become one; across a gap they don't, since other rows may come to stand in it."""
        merged: list[Plan] = []
        for plan in self._plans:
            last = merged[-1] if merged else None
            if last and last.settled and plan.settled and last.end == plan.start:
                merged[-1] = dataclasses.replace(last, end=plan.end)
                self._numbers.pop(plan.start, None)
            else:
                merged.append(plan)
        self._plans = merged


def _written(plans: Iterable[Plan]) -> Iterable[str]:
    """Offsets count from the plan before, to be short; so does the revision."""
    base, revision = 0, ""
    for plan in plans:
        text = f"{_position(plan.start, base)}-{_position(plan.end, plan.start.offset)}"
        text += f"@{plan.revision}" if plan.revision != revision else ""
        text += "!" if plan.settled else ""
        for table, cut in plan.cuts.items():
            places = (cut.settled, *cut.at)
            text += f"/{table}:" + ",".join(_position(place, plan.start.offset) if place else "" for place in places)
        base, revision = plan.start.offset, plan.revision
        yield text


def _position(place: addresses.Position, base: int) -> str:
    parts = f"{place.offset - base}.{place.ordinal}.{place.item}"
    return parts.removesuffix(".0").removesuffix(".0") if place.item == 0 else parts


def _read(text: str) -> Iterable[Plan]:
    base, revision = 0, ""
    for part in text.split(";") if text else ():
        found = _PLAN.fullmatch(part)
        if found is None:
            raise PlansError(f"a plan that can't be read: {part[:80]!r}")
        start = _place(found[1], base)
        end = _place(found[2], start.offset)
        revision = found[3][1:] if found[3] else revision
        if not start < end:
            raise PlansError(f"a plan of nothing: {part[:80]!r}")
        cuts = dict(_cut(word, start.offset) for word in found[5].split("/")[1:])
        yield Plan(start=start, end=end, revision=revision, settled=bool(found[4]), cuts=cuts)
        base = start.offset


def _cut(text: str, base: int) -> tuple[int, Cut]:
    table, _, places = text.partition(":")
    settled, *at = places.split(",")
    return int(table), Cut(settled=_place(settled, base) if settled else None, at=tuple(_place(place, base) for place in at))


def _place(text: str, base: int) -> addresses.Position:
    try:
        offset, ordinal, item = (*map(int, text.split(".")), 0, 0)[:3]
    except ValueError as error:
        raise PlansError(f"a place that can't be read: {text!r}") from error
    return addresses.Position(base + offset, ordinal, item)
