"""From a model and its rules to the structural schema a cluster asks for.

A structural schema has no references, no null and no choice between types: references are written out, a choice between a
text and a whole number becomes int-or-string, and one between a text and an object is left open, with as much of it bounded
as a cluster lets us (see docs/design/0022-operator.md). The one recursive part, the fields of the event's schema, is
written out to `schema.MAX_DEPTH` levels; the last one has only types without parts, and no rules.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.api import jsonschema, rule
from penstock.api.model import base, schema

_RECURSIVE: Final = frozenset({"Element", "Field"})
_TYPES_WITH_PARTS: Final = frozenset({"List", "Struct"})
_PARTS: Final = frozenset({"element", "fields"})
_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "default",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
"""What is taken over as it is, in the order it is read best."""


def of_model(model: type[base.Model], rules: Sequence[rule.Rule] = (), *, defaults: bool = True) -> dict[str, Any]:
    """The structural schema of a model. A rule's `path` begins at the model. `defaults`: whether a cluster fills them in."""
    root = jsonschema.of_model(model)
    return _Writer(definitions=root.get("$defs", {}), rules=rules, defaults=defaults).written(root, path="", level=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Writes a schema out. `path` is as in a rule; `level` counts the recursive parts above and including this one."""

    definitions: Mapping[str, Any]
    rules: Sequence[rule.Rule]
    defaults: bool

    def written(self, part: Mapping[str, Any], *, path: str, level: int) -> dict[str, Any]:
        name, part = self._resolved(part)
        recursive = name in _RECURSIVE
        if recursive:
            level += 1
            part = _last_level(part) if level == schema.MAX_DEPTH else part
        if "oneOf" in part:
            return self._choice(part)
        made = {key: part[key] for key in _KEPT if key in part and not self._is_left_out(key, part[key])}
        made |= _narrowed(part)
        self._write_parts(made, part, path, level)
        if found := self._validations(path, recursive=recursive, last=level == schema.MAX_DEPTH):
            made["x-kubernetes-validations"] = found
        return made

    def _is_left_out(self, key: str, value: object) -> bool:
        # A cluster holds a bound as a float, in which the largest whole number is one too many and overflows.
        return (key == "default" and not self.defaults) or (key == "maximum" and value == base.MAX_INT64)

    def _write_parts(self, made: dict[str, Any], part: Mapping[str, Any], path: str, level: int) -> None:
        if "items" in part:
            made["items"] = self.written(part["items"], path=f"{path}[]", level=level)
        if isinstance(part.get("additionalProperties"), dict):
            made["additionalProperties"] = self.written(part["additionalProperties"], path=f"{path}{{}}", level=level)
        if "properties" in part:
            made["properties"] = {
                name: self.written(inner, path=f"{path}.{name}".removeprefix("."), level=level)
                for name, inner in part["properties"].items()
            }

    def _resolved(self, part: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """With its reference followed, and the name of what it pointed to. What stands beside a reference wins."""
        if "$ref" not in part:
            return "", part
        name = part["$ref"].rsplit("/", 1)[1]
        return name, {**self.definitions[name], **{key: value for key, value in part.items() if key != "$ref"}}

    def _choice(self, part: Mapping[str, Any]) -> dict[str, Any]:
        options = [self._resolved(option)[1] for option in part["oneOf"]]
        described = {"description": part["description"]} if "description" in part else {}
        by_type = {option["type"]: option for option in options}
        text = by_type.pop("string")
        bounds = {key: text[key] for key in ("minLength", "maxLength", "pattern")}
        if "integer" in by_type:
            either = [{"type": "integer"}, {"type": "string"}]
            whole = {key: by_type["integer"][key] for key in ("minimum", "maximum")}
            return {**described, "x-kubernetes-int-or-string": True, "anyOf": either, **bounds, **whole}
        structure = by_type["object"]
        members = {"required": structure["required"], "maxProperties": len(structure["properties"])}
        # A bound means something for values of its own type only: a text is held to the first three, an object to the next
        # two, and the rest keeps out numbers, lists and booleans.
        others = {"minimum": 1, "maximum": 0, "maxItems": 0, "not": {"enum": [True, False]}}
        return {**described, "x-kubernetes-preserve-unknown-fields": True, **bounds, **members, **others}

    def _validations(self, path: str, *, recursive: bool, last: bool) -> list[dict[str, Any]]:
        anywhere = f"{path.split('[]', 1)[0]}[]**"
        wanted = [one for one in self.rules if one.path == path or (recursive and one.path == anywhere)]
        # At the last level there could be 256 x 64 x 64 x 64 fields: any rule over so many is beyond what a cluster allows.
        return [] if last else [_validation(one) for one in wanted]


def _validation(one: rule.Rule) -> dict[str, Any]:
    made = {"rule": one.cel, "message": f"{one.message}. {one.remedy}"}
    return {**made, "fieldPath": one.field} if one.field else made


def _last_level(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = copy.deepcopy({key: value for key, value in part.items() if key != "properties"})
    kept["properties"] = {name: inner for name, inner in part["properties"].items() if name not in _PARTS}
    declared = kept["properties"]["type"]
    kept["properties"]["type"] = {**declared, "enum": [name for name in declared["enum"] if name not in _TYPES_WITH_PARTS]}
    return kept


def _narrowed(part: Mapping[str, Any]) -> dict[str, Any]:
    """What a cluster writes in other words: one word as a list of one, and how large a whole number may get."""
    if "const" in part:
        return {"type": "string", "enum": [part["const"]]}
    if part.get("type") == "integer":
        return {"format": "int32" if part["maximum"] < 1 << 31 else "int64"}
    return {}
