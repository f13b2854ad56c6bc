"""`spec.transform`: from events to rows. Explode, then variables, then filter, then select, as one compiled query."""

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

    explode: Explode | None = None
    """Make one row of each item of a list."""
    variables: Annotated[tuple[Variable, ...], base.named(64)] = ()
    """Values to use more than once."""
    filter: Filter | None = None
    """Rows to keep. Omitted: all."""
    select: Annotated[tuple[Output, ...], base.named(256, minimum=1)] | None = None
    """Columns to write. Omitted: all declared fields."""
