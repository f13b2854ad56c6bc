"""Holding an object against its rules: those between fields, names that must differ, and the depth of the schema.

The fields themselves were checked when the object was made. A cluster does the same three with CEL, list keys and a schema
that ends after some levels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

from penstock.api import expressions, jsonschema, rules
from penstock.api.model import pipeline, replay, schema
from penstock.api.reading import document, words
from penstock.core import errors

_WORDS_OF_CEL: Final = frozenset({"as", "namespace"})
"""Members of the API whose names are words of CEL."""


def problems(checked: pipeline.BatchPipeline | replay.DeadLetterReplay) -> list[errors.Problem]:
    """Every rule the object breaks, without lines."""
    data = checked.model_dump(by_alias=True, exclude_none=True)
    found = list(_repeated_names(jsonschema.of_model(type(checked)), data))
    if isinstance(checked, pipeline.BatchPipeline):
        found += _too_deep(checked)
        broken = rules.BATCH_PIPELINE
    else:
        broken = rules.DEAD_LETTER_REPLAY
    return found + [problem for rule in broken for problem in _broken(rule, data)]


def _broken(rule: rules.Rule, data: dict[str, Any]) -> Iterator[errors.Problem]:
    for path, value in _values_at(rule.path, data):
        if not holds(rule, value):
            place = path + rule.field
            yield errors.Problem(field=place, value=_shown_at(value, rule.field), message=rule.message, remedy=rule.remedy)


def holds(rule: rules.Rule, value: Any) -> bool:
    """Whether `value`, the JSON data at the rule's path, keeps it."""
    context = expressions.cel.Context()
    expressions.stdlib.add_stdlib_to_context(context, ["strings"])
    context.add_variable("self", _escaped(value))
    return _compiled(rule.cel).execute(context) is True


@functools.cache
def _compiled(text: str) -> Any:
    return expressions.cel.compile(text)


def _escaped(value: Any) -> Any:
    """With member names that CEL keeps for itself written as a cluster writes them: `as` is `__as__`."""
    if isinstance(value, dict):
        return {f"__{key}__" if key in _WORDS_OF_CEL else key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def _shown_at(value: Any, place: str) -> str:
    """A scalar, or a list of names; nothing for what has fields of its own."""
    for part in place.split(".")[1:]:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return words.shown(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _values_at(path: str, data: Any) -> Iterator[tuple[str, Any]]:
    """Each value that a rule's path means, with its own path."""
    found: list[tuple[str, Any]] = [("", data)]
    for step in path.removesuffix("**").split("."):
        name = step.removesuffix("[]")
        found = [(f"{at}.{name}".removeprefix("."), value[name]) for at, value in found if name in value]
        if step.endswith("[]"):
            found = [(f"{at}[{index}]", item) for at, value in found for index, item in enumerate(value)]
    if path.endswith("**"):
        return (pair for at, value in found for pair in _nested(at, value))
    return iter(found)


def _nested(at: str, element: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A field or element of a schema, and all those inside it."""
    yield at, element
    if "element" in element:
        yield from _nested(f"{at}.element", element["element"])
    for index, inner in enumerate(element.get("fields", ())):
        yield from _nested(f"{at}.fields[{index}]", inner)


def _too_deep(checked: pipeline.BatchPipeline) -> list[errors.Problem]:
    declared = checked.spec.event_schema
    return [
        problem
        for index, field in enumerate(declared.fields if declared else ())
        for problem in _too_deep_from(field, f"spec.schema.fields[{index}]", 1)
    ]


def _too_deep_from(element: schema.Element, at: str, depth: int) -> Iterator[errors.Problem]:
    if depth == schema.MAX_DEPTH and element.type in ("List", "Struct"):
        message = f"is {schema.MAX_DEPTH} levels deep, and the last level can't be a List or Struct"
        yield errors.Problem(field=f"{at}.type", value=element.type, message=message, remedy=_DEPTH_REMEDY)
        return
    if element.element:
        yield from _too_deep_from(element.element, f"{at}.element", depth + 1)
    for index, inner in enumerate(element.fields or ()):
        yield from _too_deep_from(inner, f"{at}.fields[{index}]", depth + 1)


_DEPTH_REMEDY: Final = "Use type Json here and reach inside with ->> in SQL."


def _repeated_names(root: dict[str, Any], data: Any) -> Iterator[errors.Problem]:
    """Items of a list that share the list's key. Walks schema and data side by side."""
    waiting: list[tuple[document.Path, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*path, index), inner) for index, inner in enumerate(value)]
            for key in jsonschema.at(root, path).get("x-kubernetes-list-map-keys", ()):
                yield from _repeated(path, key, value)


def _repeated(path: document.Path, key: str, items: Any) -> Iterator[errors.Problem]:
    first_with: dict[str, int] = {}
    for index, item in enumerate(items):
        first = first_with.setdefault(item[key], index)
        if first != index:
            place = document.field((*path, index, key))
            message = f"is also the {key} of {document.field((*path, first))}"
            yield errors.Problem(field=place, value=item[key], message=message, remedy="Rename or remove one of the two.")
