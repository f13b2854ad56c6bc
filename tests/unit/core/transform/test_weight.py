"""What rows repeat of their event: counted as Python counts it, and only for what the rows really hold."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import schema as schemas
from penstock.core.transform import spec, transform, weight

_TEXTS = st.text(max_size=5)
_STRUCT = pa.struct([("a", pa.string()), ("n", pa.int64())])


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list):
        return sum(map(_bytes, value))
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return 8


@given(
    st.lists(st.lists(st.fixed_dictionaries({"a": _TEXTS, "n": st.integers(0, 9)}), max_size=3), max_size=6), st.integers(0, 3)
)
def test_nested_values_weigh_what_they_hold_also_in_a_slice(values, start):
    """Catches offsets of another slice, and a list that weighs as much as its neighbours together."""
    column = pa.array(values, pa.list_(_STRUCT)).slice(start)
    assert weight.value_bytes(column).tolist() == [_bytes(value) for value in values[start:]]


def _repeated(*, exploded: bool, **outputs: str) -> list[int]:
    field, kinds = schemas.Field, schemas.FieldType
    numbers = field(name="item", type=kinds.INT64)
    told = spec.TransformSpec(
        schema=schemas.Schema(
            fields=(
                field(name="id", type=kinds.STRING),
                field(name="note", type=kinds.STRING),
                field(name="items", type=kinds.LIST, element=numbers),
            )
        ),
        explode=spec.Explode(field="items", item="item") if exploded else None,
        filter=spec.Expression(name="filter", sql="length(note) < 100", path="filter"),
        select=tuple(
            spec.Output(name=name, value=spec.Expression(name=name, sql=sql, path=name)) for name, sql in outputs.items()
        ),
    )
    run = transform.Transform(told)
    schema = pa.schema([("id", pa.string()), ("note", pa.string()), ("items", pa.list_(pa.int64()))])
    events = pa.RecordBatch.from_pylist([{"id": "ab", "note": "x" * 50, "items": [1, 2]}], schema=schema)
    try:
        return run.repeated_bytes(events).tolist()
    finally:
        run.close()


def test_only_what_the_outputs_hold_of_the_event_is_repeated():
    """Catches an event refused for a text that only the filter reads, and a computed copy that is forgotten."""
    assert _repeated(exploded=True, id="id") == [2]
    assert _repeated(exploded=True, id="id", note="note") == [52]
    assert _repeated(exploded=True, loud="upper(note)") == [50]
    assert _repeated(exploded=True, item="item") == [0]
    assert _repeated(exploded=False, note="note") == [0]
