"""What a transform is told, and what it gives back; plain data."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import re
from typing import TYPE_CHECKING, TypeAlias

from penstock.core import schema
from penstock.core.state import spec as state_spec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

EVENT_COLUMN = "_event"
"""Hidden column: index of the event in the group the transform was given. int32, ascending."""
ITEM_COLUMN = "_item"
"""Hidden column: index of the item in the event's exploded array, 0 without explode or for a kept empty. int32."""
_HOLE = re.compile(r"\{([^{}]*)\}")

TABLE_COLUMN = "_table"
"""Hidden column, only with a table template: the table this row goes to."""


class WhenEmpty(enum.Enum):
    """What an event with a missing or empty array makes: one row with a NULL item, or none (counted)."""

    KEEP = "Keep"
    SKIP = "Skip"


class WhenNull(enum.Enum):
    """What a filter that is NULL for a row means."""

    KEEP = "Keep"
    SKIP = "Skip"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explode:
    field: str
    item: str
    index: str | None = None
    when_empty: WhenEmpty = WhenEmpty.KEEP


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One SQL expression and the place in the pipeline object it came from, e.g. `spec.transform.select[3].value`."""

    name: str
    sql: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One selected column: an expression, or a literal text. Route-only columns feed templates and are not written.

    `derived`: over the output columns before it, for the sink alone; its name may be one that is reserved.
    """

    name: str
    value: Expression | None = None
    literal: str | None = None
    route_only: bool = False
    derived: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableTemplate:
    """`clicks_{region}` over output columns. A row with a value outside `allowed` between braces goes to `otherwise`."""

    template: str
    allowed: tuple[str, ...]
    otherwise: str
    path: str

    @property
    def pieces(self) -> list[str]:
        """Fixed text at even places, columns at odd ones."""
        return _HOLE.split(self.template)

    @property
    def most_tables(self) -> int:
        """How many tables it can name, `otherwise` apart."""
        return int(len(self.allowed) ** (len(self.pieces) // 2))

    def tables(self) -> tuple[str, ...]:
        """Every table it can name, `otherwise` first."""
        choices = [self.allowed if place % 2 else (piece,) for place, piece in enumerate(self.pieces)]
        return tuple(dict.fromkeys([self.otherwise, *map("".join, itertools.product(*choices))]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransformSpec:
    """The whole of one lane's transform. `select` None means all schema fields. `when` is over the output columns."""

    schema: schema.Schema
    state: state_spec.StateSpec | None = None
    explode: Explode | None = None
    variables: tuple[Expression, ...] = ()
    filter: Expression | None = None
    when_null: WhenNull = WhenNull.KEEP
    select: tuple[Output, ...] | None = None
    when: Expression | None = None
    table: TableTemplate | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RowFailure:
    """A row whose expression fails: `event` as in EVENT_COLUMN, `item` as in ITEM_COLUMN."""

    event: int
    item: int
    expression: str
    message: str


Counts: TypeAlias = "npt.NDArray[np.int64]"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transformed:
    """Rows of a group of events, in order of event and item, and the counts that prove nothing vanished.

    The counts have one entry per event of the group and come from independent sources: `made` from list lengths before
    the query, `filtered` and `other_lanes` from counting the predicates, the rows from the result itself. For each event
    `made = filtered + other_lanes + rows + failures`, unless something is wrong; the ledger checks it.
    """

    rows: pa.Table
    made: Counts
    filtered: Counts
    other_lanes: Counts
    failures: tuple[RowFailure, ...]
