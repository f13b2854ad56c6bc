"""Where in an event's JSON each declared field stands: the declared fields turned into a tree of member names.

A `path` puts a top-level field deeper ("$.meta.device-id"); everything else stands under its own name. A place is read by
one field: a second one on the same place, or inside a place that is read whole, is refused when the pipeline is checked,
because the bulk reader gives each member to one column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from penstock.core import schema as schemas


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A member of an object: read whole as `field`, or only a way to the `members` inside."""

    name: str
    field: schemas.Field | None = None
    members: tuple[Place, ...] = ()


def places(fields: Sequence[schemas.Field]) -> tuple[Place, ...]:
    """The tree. Raises ValueError naming the fields that want one place, or a path that can't be read."""
    tree: dict[str, object] = {}
    for field in fields:
        _insert(tree, steps(field), field)
    return _frozen(tree)


def steps(field: schemas.Field) -> tuple[str, ...]:
    """The member names from the event down to the field."""
    if not field.path:
        return (field.name,)
    root, *names = field.path.split(".")
    if root != "$" or not names or not all(names) or "[" in field.path:
        raise ValueError(f'field {field.name!r}: path {field.path!r} is not member names such as "$.meta.device-id"')
    return tuple(names)


def _insert(tree: dict[str, object], path: Sequence[str], field: schemas.Field) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if isinstance(inner, schemas.Field):
            raise ValueError(f"field {field.name!r} reads inside {name!r}, which field {inner.name!r} reads whole: drop one path")
        tree = inner  # type: ignore[assignment]  # the tree holds fields and trees only
    other = tree.setdefault(path[-1], field)
    if other is not field:
        raise ValueError(f"field {field.name!r} reads {path[-1]!r}, which another field reads already: drop one path")


def _frozen(tree: dict[str, object]) -> tuple[Place, ...]:
    return tuple(
        Place(name=name, field=inner) if isinstance(inner, schemas.Field) else Place(name=name, members=_frozen(inner))  # type: ignore[arg-type]
        for name, inner in tree.items()
    )


def is_json_text(field: schemas.Field) -> bool:
    """Whether the field is JSON, or lists of it: what no typed reader can read, so its text is cut out instead."""
    if field.type is schemas.FieldType.LIST and field.element is not None:
        return is_json_text(field.element)
    return field.type is schemas.FieldType.JSON


def holds_json_text(fields: Sequence[schemas.Field]) -> bool:
    """Whether JSON stands anywhere in these fields."""
    return any(
        is_json_text(field) or holds_json_text(field.fields) or (field.element is not None and holds_json_text((field.element,)))
        for field in fields
    )
