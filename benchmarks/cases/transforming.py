"""`explode_…` and `transform`: groups of events to rows."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import case, events, stage
from benchmarks.references import mapping, parsing
from penstock.core import schema as schemas
from penstock.core.transform import spec, transform

HIDDEN = [spec.EVENT_COLUMN, spec.ITEM_COLUMN]
_Types = schemas.FieldType
_START_MICROSECONDS = 1_767_225_600_000_000

Rows = list[dict[str, Any]]


def group(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.Table:
    """Events as the lane hands them to a transform."""
    numbers = pa.array(np.arange(batch.num_rows, dtype=np.int32))
    return pa.Table.from_batches([batch]).select(list(columns)).append_column(spec.EVENT_COLUMN, numbers)


def visible(made: spec.Transformed) -> Rows:
    """What is written of the rows."""
    rows: Rows = made.rows.drop_columns(HIDDEN).to_pylist()
    return rows


class TransformBench:
    """Blocks of parsed events through `told`; the reference begins with Python objects, decoded before."""

    def __init__(self, count: int, *, told: Callable[[], spec.TransformSpec], plainly: Callable[[Rows], Rows]) -> None:
        self._transform, self._plainly = transform.Transform(told()), plainly
        documents = list(events.documents(count, seed=2))
        rows = parsing.events(documents)
        schema = schemas.arrow_schema(events.schema())
        self._blocks = []
        for start in range(0, count, events.BLOCK_EVENTS):
            block = rows[start : start + events.BLOCK_EVENTS]
            table = group(pa.RecordBatch.from_pylist(block, schema=schema), self._transform.input_columns)
            self._blocks.append((table, block))

    def inputs(self) -> list[tuple[pa.Table, Rows]]:
        return self._blocks

    def product(self, inputs: list[tuple[pa.Table, Rows]]) -> list[spec.Transformed]:
        return [self._transform.run(table) for table, _ in inputs]

    def reference(self, inputs: list[tuple[pa.Table, Rows]]) -> list[Rows]:
        return [self._plainly(block) for _, block in inputs]

    def check(self, product: list[spec.Transformed], reference: list[Rows]) -> None:
        for made, rows in zip(product, reference, strict=True):
            case.require_same("rows", visible(made), rows)

    def extra(self) -> dict[str, Any]:
        self._transform.close()
        return {}


_PLAIN = ("id", "user_id", "ts", "type", "page", "region")


def static_spec() -> spec.TransformSpec:
    """Fields as they are and fixed values: nothing to be worked out for an event."""
    fixed = [spec.Output(name=name, literal=value) for name, value in mapping.FIXED.items()]
    return spec.TransformSpec(schema=events.schema(), select=(*(spec.Output(name=name) for name in _PLAIN), *fixed))


def expression_spec() -> spec.TransformSpec:
    """The same fields and one simple expression."""
    sql = spec.Expression(name="milliseconds", sql="seconds * 1000.0", path="select.milliseconds")
    outputs = [spec.Output(name=name) for name in _PLAIN]
    return spec.TransformSpec(schema=events.schema(), select=(*outputs, spec.Output(name="milliseconds", value=sql)))


EXPLODE_SCHEMA = schemas.Schema(
    fields=(
        schemas.Field(name="id", type=_Types.STRING),
        schemas.Field(name="user_id", type=_Types.INT64),
        schemas.Field(name="ts", type=_Types.TIMESTAMP),
        schemas.Field(name="type", type=_Types.STRING),
        schemas.Field(
            name="items",
            type=_Types.LIST,
            element=schemas.Field(
                name="item",
                type=_Types.STRUCT,
                fields=(
                    schemas.Field(name="sku", type=_Types.STRING),
                    schemas.Field(name="qty", type=_Types.INT32),
                    schemas.Field(name="price", type=_Types.FLOAT64),
                ),
            ),
        ),
    )
)


def explode_spec(when_empty: spec.WhenEmpty = spec.WhenEmpty.KEEP) -> spec.TransformSpec:
    """Four fields of the event, four of the item and one computed from both."""
    names = {"sku": "item.sku", "qty": "item.qty", "price": "item.price", "amount": "item.qty * item.price"}
    plain = [spec.Output(name=name) for name in ("id", "user_id", "ts", "type", "item_no")]
    mapped = [
        spec.Output(name=name, value=spec.Expression(name=name, sql=sql, path=f"select.{name}")) for name, sql in names.items()
    ]
    return spec.TransformSpec(
        schema=EXPLODE_SCHEMA,
        explode=spec.Explode(field="items", item="item", index="item_no", when_empty=when_empty),
        select=(*plain, *mapped),
    )


class ExplodeBench:
    """`count` items in arrays of `length`."""

    def __init__(self, count: int, *, length: int) -> None:
        self._transform = transform.Transform(explode_spec())
        rng = random.Random(length)
        rows = [_event(number, min(length, count), rng) for number in range(max(1, count // length))]
        batch = pa.RecordBatch.from_pylist(rows, schema=schemas.arrow_schema(EXPLODE_SCHEMA))
        # Times as any reader of the columns has them, so that rows compare.
        self._inputs = group(batch, self._transform.input_columns), batch.to_pylist()

    def inputs(self) -> tuple[pa.Table, Rows]:
        return self._inputs

    def product(self, inputs: tuple[pa.Table, Rows]) -> spec.Transformed:
        return self._transform.run(inputs[0])

    def reference(self, inputs: tuple[pa.Table, Rows]) -> Rows:
        return mapping.explode(inputs[1])

    def check(self, product: spec.Transformed, reference: Rows) -> None:
        case.require_same("rows", visible(product), reference)

    def extra(self) -> dict[str, Any]:
        self._transform.close()
        return {}


def _event(number: int, items: int, rng: random.Random) -> dict[str, Any]:
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "user_id": rng.randrange(50_000),
        "ts": _START_MICROSECONDS + number * 1_000,
        "type": "purchase",
        "items": [
            {"sku": f"S{rng.randrange(5000):05d}", "qty": rng.randrange(1, 4), "price": rng.randrange(100, 20_000) / 100}
            for _ in range(items)
        ],
    }


def _explode(name: str, length: int) -> stage.StageCase:
    return stage.StageCase(
        name=name,
        says=f"arrays of {length:,} items to rows of nine columns; beside a loop that makes one row after the other",
        target=case.Target(ratio=5),
        events=200_000,
        quick_events=2_000,
        open=functools.partial(ExplodeBench, length=length),
        unit="item",
    )


CASES = [
    _explode("explode_10", 10),
    _explode("explode_1k", 1_000),
    _explode("explode_50k", 50_000),
    stage.StageCase(
        name="transform",
        says="filter and nine computed columns in SQL, blocks of 10,000; beside a Python function per event",
        target=case.Target(),
        events=100_000,
        quick_events=2_000,
        open=functools.partial(TransformBench, told=events.transform, plainly=mapping.transform),
    ),
    stage.StageCase(
        name="map_static",
        says="six fields as they are and two fixed values, worked out once; beside a dict per event",
        target=case.Target(ratio=5),
        events=100_000,
        quick_events=2_000,
        open=functools.partial(TransformBench, told=static_spec, plainly=mapping.static),
    ),
    stage.StageCase(
        name="map_expression",
        says="six fields as they are and one multiplication in SQL; beside a Python function per event",
        target=case.Target(ratio=2),
        events=100_000,
        quick_events=2_000,
        open=functools.partial(TransformBench, told=expression_spec, plainly=mapping.expression),
    ),
]
