"""What a transform can read: the block's columns, the exploded item, and the internal names the engine knows them by."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from penstock.core import schema
from penstock.core.transform import explode, scope, spec

ROW: Final = "__row"
"""Every table the engine is given has this column: int32, the row's index before any filter."""

ORIGINAL_COLUMN: Final = "_original"
RECEIVED_AT_COLUMN: Final = "_received_at"
"""The columns every block adds; as in core.blocks."""

ORIGINAL: Final = "original"
RECEIVED_AT: Final = "received_at"
"""The names under which expressions reach them."""

_TIME = pa.timestamp("us", tz="UTC")


class Role(enum.Enum):
    """Where a source's values come from."""

    EVENT = "a column of the block"
    ITEM = "the exploded array's items"
    INDEX = "the item's index"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One readable thing. `column` is the block's name for it, `internal` the engine's; `field` its Arrow form in the block."""

    internal: str
    role: Role
    column: str
    field: pa.Field[Any]
    engine_type: pa.DataType


def readable(told: spec.TransformSpec) -> dict[str, Source]:
    """Every source by the name expressions use, the schema's fields first, in their order.

    A declared field called `original` or `received_at` is the event's own and hides ours, except in the schema of a pipeline
    that declares none.
    """
    exploded = told.explode
    columns = {field.name: (field.name, field) for field in schema.arrow_schema(told.schema)}
    if told.schema.whole_event or RECEIVED_AT not in columns:
        columns[RECEIVED_AT] = (RECEIVED_AT_COLUMN, pa.field(RECEIVED_AT, _TIME))
    if told.schema.unknown_fields is schema.UnknownFields.KEEP:
        columns.setdefault(ORIGINAL, (ORIGINAL_COLUMN, pa.field(ORIGINAL, pa.binary())))
    columns |= {field.name: (field.name, field) for field in schema.added_fields(told.schema)}
    if told.state:
        columns |= {value.name: (value.hidden, value.column) for value in told.state.values}
    made = {name: _of_event(index, column, field, exploded) for index, (name, (column, field)) in enumerate(columns.items())}
    return made | _of_item(made, exploded)


def _of_event(index: int, column: str, field: pa.Field[Any], exploded: spec.Explode | None) -> Source:
    kind = explode.carried_type(field.type) if exploded else field.type
    return Source(internal=f"__c{index}", role=Role.EVENT, column=column, field=field, engine_type=kind)


def _of_item(known: Mapping[str, Source], exploded: spec.Explode | None) -> dict[str, Source]:
    if not exploded or exploded.field not in known or not pa.types.is_list(known[exploded.field].field.type):
        return {}
    array = known[exploded.field]
    item = array.field.type.value_field.with_name(exploded.item)
    made = {exploded.item: Source(internal="__item", role=Role.ITEM, column=array.column, field=item, engine_type=item.type)}
    if exploded.index:
        field = pa.field(exploded.index, pa.int32())
        made[exploded.index] = Source(internal="__index", role=Role.INDEX, column="", field=field, engine_type=field.type)
    return made


def as_column(source: Source) -> scope.Column:
    """What the source's name stands for in an expression."""
    node = scope.column_ref(source.internal)
    if source.role is Role.EVENT and source.column == ORIGINAL_COLUMN:
        return scope.Column(node=scope.call("decode", node), type=pa.string(), weight=2, depth=2)
    if source.role is Role.EVENT and pa.types.is_dictionary(source.engine_type) and explode.is_boxed(source.field.type):
        node = scope.operator("ARRAY_EXTRACT", [node, scope.number_constant(1)])
    return scope.Column(node=node, type=source.field.type, origin=scope.Origin(source=source.internal))


def internal_scope(known: Mapping[str, Source]) -> scope.Scope:
    """Only the engine's own names: what rewritten SQL may speak of."""
    return scope.Scope({source.internal: scope.Column(node=scope.column_ref(source.internal)) for source in known.values()})


def absent(told: spec.TransformSpec) -> dict[str, str]:
    """Names a person may expect here, and why they are not."""
    if told.schema.unknown_fields is schema.UnknownFields.KEEP:
        return {}
    return {ORIGINAL: "the event's own text is kept only with spec.schema.unknownFields: Keep"}


def in_our_words(message: str, known: Iterable[Source]) -> str:
    """The engine's words with the names a person knows."""
    names = {source.internal: source.field.name for source in known}
    return re.sub(r"\b__\w+", lambda found: names.get(found[0], found[0]), message)
