"""`spec.transform`: from events to rows. State, then explode, then variables, then filter, then select, as one compiled query."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base


class Explode(base.Model):
    """One row per item of a list."""

    field: base.Column
    """The List field to explode."""
    item: Annotated[base.Column, pydantic.Field(alias="as")] = "item"
    """Name of the item in the expressions that follow."""
    index_as: base.Column | None = None
    """Name of the item's position, counted from 0. Omitted: not available."""
    when_empty: Literal["Keep", "Skip"] = "Keep"
    """What an empty or missing list makes. Keep: one row whose item is NULL. Skip: no row; it is counted."""


class StateValue(base.Model):
    """One thing to remember of each key."""

    name: base.Column
    """Name of the value in the expressions that follow."""
    type: Literal["Count", "Sum", "Last"]
    """Count: events of this key before this one. Sum: of a field over those events, 0 at first. Last: the field's last value
    that wasn't NULL, NULL at first; texts longer than 1,024 bytes aren't remembered."""
    field: base.Column | None = None
    """The event's field. Belongs to Sum (Int32, Int64) and Last (all types but List and Struct)."""


class State(base.Model):
    """What came before an event with the same key: duplicates aside, whatever became of those events."""

    key: Annotated[tuple[base.Column, ...], pydantic.Field(min_length=1, max_length=8)]
    """Fields that make a key, declared and required. Holds every field of source.ingest.partitionBy, so that equal keys meet;
    where neither that nor deduplicate is set, events are partitioned by this key. Can't change while events are unread."""
    max_keys_per_partition: Annotated[int, base.whole(1, 1_000_000)] = 100_000
    """Keys to remember in each partition. When a block of events leaves more, the least recently seen are forgotten until
    three quarters of this number are left."""
    values: Annotated[tuple[StateValue, ...], base.named(16, minimum=1)]
    """What to remember of each key. Each is a column for expressions."""


class Variable(base.Model):
    """A value with a name, for the expressions that follow."""

    name: base.Column
    """Name of the variable."""
    value: base.Sql
    """SQL over the fields, the item and the variables before this one."""


class Filter(base.Model):
    """Which rows go on."""

    expression: base.Sql
    """SQL that is true for the rows to keep. The others are counted."""
    when_null: Literal["Keep", "Skip"] = "Keep"
    """What becomes of rows for which the expression is neither true nor false."""


class Output(base.Model):
    """One column of the rows that are written."""

    name: base.Column
    """Name of the column in the store."""
    value: base.Sql | None = None
    """SQL over the fields, the item and the variables. Omitted: the field of the same name."""
    literal: Annotated[str, pydantic.Field(max_length=4096)] | None = None
    """A fixed text, instead of a value."""
    route_only: bool = False
    """Use the column in templates only; it isn't written."""


class Transform(base.Model):
    """What becomes of an event before it is written. Every expression is SQL and must give the same result each time."""

    state: State | None = None
    """What to know of earlier events of the same key. Omitted: nothing."""
    explode: Explode | None = None
    """Make one row of each item of a list."""
    variables: Annotated[tuple[Variable, ...], base.named(64)] = ()
    """Values to use more than once."""
    filter: Filter | None = None
    """Rows to keep. Omitted: all."""
    select: Annotated[tuple[Output, ...], base.named(256, minimum=1)] | None = None
    """Columns to write. Omitted: all declared fields."""
