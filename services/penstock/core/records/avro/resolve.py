"""A reader for a writer's schema and the declared fields: by name, however either of them grows.

What the writer has and nobody declares is passed over; what is declared and the writer lacks is NULL. A declared field whose
`path` leads down is looked for in the records inside. Names are the same when they are spelt the same.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import pyarrow as pa

from penstock.core import schema as schemas
from penstock.core.parsing import layout
from penstock.core.records.avro import cursor, nodes, readers

Kind = schemas.FieldType
_TICKS = {
    "timestamp-millis": 1_000,
    "timestamp-micros": 1,
    "local-timestamp-millis": 1_000,
    "local-timestamp-micros": 1,
}
_FORMATS = {schemas.TimestampFormat.EPOCH_MILLISECONDS: 1_000, schemas.TimestampFormat.EPOCH_SECONDS: 1_000_000}


def event(node: nodes.Node, schema: schemas.Schema) -> readers.Record:
    """Of a whole record; its columns come under the names of the declared fields. Raises UnfitError."""
    if node.kind != "record":
        raise readers.UnfitError("", node.words, "a record")
    tree = layout.places(() if schema.whole_event else schema.fields)
    wanted = [(field.name, schemas.arrow_type(field), field.required) for field in schema.fields]
    return readers.Record([_flat(name, member, tree) for name, member in node.members], wanted, "")


def _flat(name: str, node: nodes.Node, tree: Sequence[layout.Place]) -> tuple[str, readers.Reader]:
    """A member of the writer's record, under the name of what is declared for it."""
    place = next((place for place in tree if place.name == name), None)
    if place is None:
        return "", reader(node, None, name)
    if place.field is not None:
        return place.field.name, reader(node, place.field, place.field.name)
    raise readers.UnfitError(name, "read through a path, which Avro fields can't be yet", "a field of the record itself")


def reader(
    node: nodes.Node, field: schemas.Field | None, path: str, inside: Mapping[nodes.Node, readers.Later] | None = None
) -> readers.Reader:
    """`field` None passes over the value. `inside`: the types that this one stands in. Raises UnfitError."""
    inside = inside or {}
    if node in inside and field is None:
        return inside[node]
    if field is not None and field.type is Kind.JSON:
        return readers.Text(reader(node, None, path, inside), node)
    match node.kind:
        case "union":
            return _union(node, field, path, inside)
        case "record":
            return _record(node, field, path, inside)
        case "array" | "map":
            return _array(node, field, path, inside)
    call = _passing(node, path) if field is None else _simple(node, field, path)
    if call is None:
        raise readers.UnfitError(path, node.words, field.type.value if field else "")
    return readers.Simple(call)


def _union(
    node: nodes.Node, field: schemas.Field | None, path: str, inside: Mapping[nodes.Node, readers.Later]
) -> readers.Reader:
    branches: list[readers.Reader | readers.UnfitError] = []
    kind = schemas.arrow_type(field) if field else pa.null()
    for _, member in node.members:
        if member.kind == "null":
            branches.append(readers.Simple(functools.partial(_nulls, kind)))
            continue
        try:
            branches.append(reader(member, field, path, inside))
        except readers.UnfitError as error:
            branches.append(error)
    fitting = [one for one in branches if not isinstance(one, readers.UnfitError)]
    values = [member for _, member in node.members if member.kind != "null"]
    if field is not None and values and len(fitting) == len(branches) - len(values):
        raise readers.UnfitError(path, node.words, field.type.value)
    return readers.Union(branches, kind, path)


def _record(
    node: nodes.Node, field: schemas.Field | None, path: str, inside: Mapping[nodes.Node, readers.Later]
) -> readers.Reader:
    if field is not None and field.type is not Kind.STRUCT:
        raise readers.UnfitError(path, f"the record {node.name}", field.type.value)
    later = readers.Later()
    within = {**inside, node: later}
    declared = {one.name: one for one in field.fields} if field else {}
    fields = [
        (name if name in declared else "", reader(member, declared.get(name), f"{path}.{name}", within))
        for name, member in node.members
    ]
    wanted = [(one.name, schemas.arrow_type(one), one.required) for one in field.fields] if field else []
    later.reader = readers.Record(fields, wanted, path)
    return later if field is None else later.reader


def _array(
    node: nodes.Node, field: schemas.Field | None, path: str, inside: Mapping[nodes.Node, readers.Later]
) -> readers.Reader:
    if field is None:
        item = reader(node.members[0][1], None, path, inside)
        if node.kind == "map":
            key = reader(nodes.Node("bytes"), None, path)
            item = readers.Record([("", key), ("", item)], [], path)
        return readers.Array(item, None, path)
    if field.type is not Kind.LIST or node.kind == "map" or field.element is None:
        raise readers.UnfitError(path, f"a {node.kind}" if node.kind == "map" else "an array", field.type.value)
    item = reader(node.members[0][1], field.element, f"{path}[]", inside)
    return readers.Array(item, schemas.arrow_type(field), path)


def _nulls(kind: pa.DataType, at: cursor.Cursor) -> pa.Array:
    return pa.nulls(len(at), kind)


def _passing(node: nodes.Node, path: str) -> readers.Call | None:
    match node.kind:
        case "null":
            return functools.partial(_nulls, pa.null())
        case "boolean":
            return readers.passed(1, path)
        case "float":
            return readers.passed(4, path)
        case "double":
            return readers.passed(8, path)
        case "fixed":
            return readers.passed(node.size, path)
        case "int" | "long" | "enum":
            return readers.passed_number(path)
        case _:
            return readers.passed_text(path)


def _simple(node: nodes.Node, field: schemas.Field, path: str) -> readers.Call | None:
    """None where the two don't fit."""
    match node.kind, field.type:
        case "null", _:
            return functools.partial(_nulls, schemas.arrow_type(field))
        case "boolean", Kind.BOOLEAN:
            return readers.truths(path)
        case "int" | "long", Kind.INT64 | Kind.FLOAT64 if node.logical == "":
            return readers.numbers(schemas.arrow_type(field), path)
        case "int", Kind.INT32 if node.logical == "":
            return readers.numbers(pa.int32(), path)
        case "int", Kind.DATE if node.logical == "date":
            return readers.numbers(pa.date32(), path)
        case "long", Kind.TIMESTAMP:
            return _times(node, field, path)
        case "float" | "double", Kind.FLOAT64:
            return readers.floats(node.kind == "double", path)
        case "string", Kind.STRING:
            return readers.texts(path)
        case "enum", Kind.STRING:
            return readers.symbols(node.symbols, path)
        case "string", Kind.UUID:
            return readers.uuids(None, path)
        case "fixed", Kind.UUID if node.size == 16:
            return readers.uuids(node.size, path)
        case "bytes" | "fixed", Kind.DECIMAL if node.logical == "decimal":
            return readers.decimals(node, schemas.arrow_type(field), path)
        case "bytes", Kind.BYTES:
            return readers.octets(None, path)
        case "fixed", Kind.BYTES:
            return readers.octets(node.size, path)
    return None


def _times(node: nodes.Node, field: schemas.Field, path: str) -> readers.Call | None:
    if node.logical in _TICKS:
        return readers.times(_TICKS[node.logical], path)
    if node.logical in ("timestamp-nanos", "local-timestamp-nanos"):
        return readers.nanoseconds(path)
    ticks = _FORMATS.get(field.format)
    return readers.times(ticks, path) if ticks and not node.logical else None
