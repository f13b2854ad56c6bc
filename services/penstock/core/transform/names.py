"""The names a transform gives, and the types it may write: what can be judged without reading any SQL."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core import errors, schema
from penstock.core.transform import spec

_AT = "spec.transform"

_UNWRITABLE = {
    '"NULL"': "say which type it has, as in CAST(NULL AS VARCHAR)",
    "INTERVAL": "write a number, as in epoch(x), or text, as in CAST(x AS VARCHAR)",
    "TUPLE(": "name its members, as in {'a': 1, 'b': 2}",
    "VARIANT": "cast it to JSON",
    "BIT": "cast it to VARCHAR",
    "ENUM(": "cast it to VARCHAR",
    "UNION(": "take one of its members",
    "GEOMETRY": "cast it to VARCHAR",
}


def unwritable(kind: str) -> str:
    """What to do about a type, in the engine's words, that no store takes; empty if it can be written."""
    return next((remedy for start, remedy in _UNWRITABLE.items() if kind.startswith(start)), "")


def problems(told: spec.TransformSpec) -> list[errors.Problem]:
    """Names that are reserved, given twice, or hide one another; case makes no difference, as in SQL."""
    return [*_explode(told), *_fields(told), *_state(told), *_variables(told), *_outputs(told)]


def _problem(field: str, value: str, message: str, remedy: str) -> errors.Problem:
    return errors.Problem(field=field, value=value, message=message, remedy=remedy)


def _reserved(path: str, name: str) -> Iterator[errors.Problem]:
    if name.startswith("_"):
        yield _problem(path, name, "begins with _; such names are reserved", f"call it {name.lstrip('_') or 'something'}")


def _explode(told: spec.TransformSpec) -> Iterator[errors.Problem]:
    if told.explode is None:
        return
    declared = {field.name: field for field in told.schema.fields}
    field = declared.get(told.explode.field)
    if field is None:
        yield _problem(f"{_AT}.explode.field", told.explode.field, "unknown field", f"fields here: {', '.join(declared)}")
    elif field.type is not schema.FieldType.LIST:
        yield _problem(f"{_AT}.explode.field", field.name, f"is {field.type.value}, not List", "explode a field of type List")
    taken = {name.lower() for name in (*declared, "original", "received_at", *(field.name for field in told.schema.added))}
    for path, name in ((f"{_AT}.explode.as", told.explode.item), (f"{_AT}.explode.indexAs", told.explode.index)):
        if name is None:
            continue
        yield from _reserved(path, name)
        if name.lower() in taken:
            yield _problem(path, name, "is the name of a column already", "choose another")
        taken.add(name.lower())


def _fields(told: spec.TransformSpec) -> Iterator[errors.Problem]:
    seen: set[str] = set()
    for index, field in enumerate(told.schema.fields):
        path = f"spec.schema.fields[{index}].name"
        yield from _reserved(path, field.name)
        if field.name.lower() in seen:
            yield _problem(
                path, field.name, "is declared twice; case makes no difference", "give one of them another name and a path"
            )
        seen.add(field.name.lower())
        yield from _members(field, f"spec.schema.fields[{index}]")


def _members(field: schema.Field, path: str) -> Iterator[errors.Problem]:
    inner = field.element if field.type is schema.FieldType.LIST and field.element else None
    if inner:
        yield from _members(inner, f"{path}.element")
    seen: set[str] = set()
    for index, member in enumerate(field.fields):
        at = f"{path}.fields[{index}]"
        if member.name.lower() in seen:
            yield _problem(
                f"{at}.name", member.name, "is declared twice; case makes no difference", "give one of them another name"
            )
        seen.add(member.name.lower())
        yield from _members(member, at)


def _taken(told: spec.TransformSpec) -> set[str]:
    """Names of columns that are there without state and variables."""
    taken = {field.name.lower() for field in (*told.schema.fields, *told.schema.added)} | {"original", "received_at"}
    if told.explode:
        taken |= {name.lower() for name in (told.explode.item, told.explode.index) if name}
    return taken


def _state(told: spec.TransformSpec) -> Iterator[errors.Problem]:
    taken = _taken(told)
    for index, value in enumerate(told.state.values if told.state else ()):
        path = f"{_AT}.state.values[{index}].name"
        yield from _reserved(path, value.name)
        if value.name.lower() in taken:
            yield _problem(path, value.name, "is the name of a column already", "choose another")
        taken.add(value.name.lower())


def _variables(told: spec.TransformSpec) -> Iterator[errors.Problem]:
    taken = _taken(told) | {value.name.lower() for value in (told.state.values if told.state else ())}
    for index, variable in enumerate(told.variables):
        path = f"{_AT}.variables[{index}].name"
        yield from _reserved(path, variable.name)
        if variable.name.lower() in taken:
            yield _problem(path, variable.name, "is the name of a column or variable already", "choose another")
        taken.add(variable.name.lower())


def _outputs(told: spec.TransformSpec) -> Iterator[errors.Problem]:
    seen: set[str] = set()
    for index, output in enumerate(told.select or ()):
        path = f"{_AT}.select[{index}].name"
        if not output.derived:
            yield from _reserved(path, output.name)
        if output.name.lower() in seen:
            yield _problem(path, output.name, "is selected twice; case makes no difference", "give one of them another name")
        seen.add(output.name.lower())
    if told.select is not None and all(output.route_only for output in told.select):
        yield _problem(f"{_AT}.select", "", "writes nothing", "select at least one column that isn't routeOnly")
