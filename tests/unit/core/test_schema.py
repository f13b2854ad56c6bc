"""Declared fields as Arrow columns, and the fingerprint of their shape."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest

from penstock.core import schema as schemas

_Types = schemas.FieldType


def _field(name: str, kind: schemas.FieldType, **rest: object) -> schemas.Field:
    return schemas.Field(name=name, type=kind, **rest)  # type: ignore[arg-type]


_ITEM = _field(
    "item", _Types.STRUCT, fields=(_field("sku", _Types.STRING), _field("price", _Types.DECIMAL, precision=9, scale=2))
)


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (_field("a", _Types.TIMESTAMP), pa.timestamp("us", tz="UTC")),
        (_field("a", _Types.UUID), pa.string()),
        (_field("a", _Types.DECIMAL, precision=9, scale=2), pa.decimal128(9, 2)),
        (_field("a", _Types.LIST, element=_ITEM), pa.list_(pa.struct([("sku", pa.string()), ("price", pa.decimal128(9, 2))]))),
    ],
    ids=["timestamp", "uuid", "decimal", "list of struct"],
)
def test_a_declared_type_has_one_arrow_type(field: schemas.Field, wanted: pa.DataType) -> None:
    """Catches a time without its zone, and a nested type that loses its precision."""
    assert schemas.arrow_type(field).equals(wanted)


def test_json_text_can_be_told_from_other_text() -> None:
    """Catches lost metadata: a sink could not choose its JSON type."""
    field = schemas.arrow_field(_field("a", _Types.JSON))
    assert field.metadata == {schemas.TYPE_METADATA: b"Json"}


def test_the_fingerprint_never_changes() -> None:
    """Catches a digest over something an interpreter or library renders: older blocks would look foreign."""
    schema = schemas.Schema(fields=(_field("id", _Types.STRING), _field("items", _Types.LIST, element=_ITEM)))
    assert schemas.fingerprint(schema) == "96fcdafbe66d9048"


def test_the_fingerprint_is_of_the_shape_alone() -> None:
    """Catches a fingerprint that ignores a type or the order, or that changes with how events are read."""
    one, two = _field("a", _Types.INT32), _field("b", _Types.JSON)
    base = schemas.fingerprint(schemas.Schema(fields=(one, two)))
    read_otherwise = dataclasses.replace(one, required=True, coerce=True, path="$.x.a")
    assert schemas.fingerprint(schemas.Schema(fields=(read_otherwise, two))) == base
    for other in [
        (two, one),
        (dataclasses.replace(one, type=_Types.INT64), two),
        (one, dataclasses.replace(two, type=_Types.STRING)),
    ]:
        assert schemas.fingerprint(schemas.Schema(fields=other)) != base
