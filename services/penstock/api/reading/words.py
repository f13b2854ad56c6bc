"""The model's complaints in people's words: where, what was found, what is meant, and what to write instead."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pydantic

from penstock.api import jsonschema
from penstock.api.model import base
from penstock.api.reading import document, scalars
from penstock.core import errors

_MAX_SHOWN: Final = 80
_WORDS_OF_TYPE: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "missing": "is missing",
        "string_type": "must be text",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "int_parsing_size": "is too large a number",
        "bool_type": "must be true or false",
        "tuple_type": "must be a list",
        "dict_type": "must be a mapping of names to values",
        "model_type": "must be a mapping with fields of its own",
        "string_too_short": "must not be empty",
        "string_too_long": "has more than {max_length} characters",
        "too_short": "must have at least {min_length} item(s)",
        "too_long": "must have at most {max_length} items",
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "timezone_aware": "has no time zone",
        "datetime_type": "must be a moment",
        "datetime_parsing": "must be a moment",
        "datetime_from_date_parsing": "must be a moment",
        "union_tag_not_found": "can't be a {found}",
    }
)
_REMEDY_OF_TYPE: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "tuple_type": "Write a list: [one, two], or one item per line after a dash.",
        "timezone_aware": 'Add Z for UTC or an offset: "2026-01-31T08:00:00Z".',
        "datetime_type": 'Write it like "2026-01-31T08:00:00Z".',
        "datetime_parsing": 'Write it like "2026-01-31T08:00:00Z".',
        "datetime_from_date_parsing": 'Write it like "2026-01-31T08:00:00Z".',
    }
)


def problems(model: type[base.Model], error: pydantic.ValidationError, read: document.Document) -> list[errors.Problem]:
    """One problem per complaint, with the line."""
    root = jsonschema.of_model(model)
    complaints = error.errors(include_url=False)
    return [_problem(root, _path(one["loc"]), dict(one), read) for one in complaints if not _is_echo(dict(one))]


def traps(model: type[base.Model], read: document.Document) -> list[errors.Problem]:
    """Unquoted dates that stand where text is meant: kubectl reads text, other tools a date."""
    root = jsonschema.of_model(model)
    dates = (path for path, written in read.written.items() if scalars.is_date(written))
    return [_trap(path, read) for path in dates if _is_plain_text(jsonschema.at(root, path))]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def shown(value: object) -> str:
    """A value as an error shows it: text as it is, the rest as JSON, long ones cut, lists and mappings not at all."""
    if isinstance(value, dict | list) or value is None:
        return ""
    text = document.printable(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _path(location: tuple[int | str, ...]) -> document.Path:
    """Without the marks that tell the arms of a union apart."""
    return tuple(part for part in location if isinstance(part, int) or not part.startswith("<"))


def _is_echo(one: dict[str, Any]) -> bool:
    """A list counts as too short when its items are wrong; those are told already."""
    return one["type"] == "too_short" and len(one["input"]) >= int(one["ctx"]["min_length"])


def _is_plain_text(part: dict[str, Any]) -> bool:
    return part.get("type") == "string" and "format" not in part and "enum" not in part


def _problem(root: dict[str, Any], path: document.Path, one: dict[str, Any], read: document.Document) -> errors.Problem:
    kind = one["type"]
    if kind == "extra_forbidden":
        message, remedy = "is not a field that is known here", _fields_here(root, path)
    elif kind == "literal_error":
        message, remedy = _choice(jsonschema.at(root, path), path, read)
    elif kind == "string_pattern_mismatch":
        message, remedy = base.WORDS_OF_PATTERN[one["ctx"]["pattern"]], _remedy_of_pattern(one)
    elif path in read.written and (kind == "string_type" or _is_name_choice(root, path, kind)):
        return _trap(path, read)
    else:
        message, remedy = _said(kind, one), _remedy(root, path, one)
    value = "" if kind == "missing" else read.written.get(path, shown(one["input"]))
    return errors.Problem(field=document.field(path), value=value, message=message, remedy=remedy, line=read.line(path))


def _is_name_choice(root: dict[str, Any], path: document.Path, kind: str) -> bool:
    return kind == "union_tag_not_found" and "properties" in jsonschema.at(root, path)


def _said(kind: str, one: dict[str, Any]) -> str:
    words = _WORDS_OF_TYPE.get(kind, "doesn't fit here")
    return words.format(**one.get("ctx", {}), found=_kind_of(one["input"]))


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "mapping", list: "list", str: "text", int: "number", float: "number"}
    return names.get(type(value), "value of this kind")


def _remedy(root: dict[str, Any], path: document.Path, one: dict[str, Any]) -> str:
    value, kind = one["input"], one["type"]
    part = jsonschema.at(root, path)
    if kind == "missing":
        choice = f" It is {_either(part['enum'])}." if "enum" in part else ""
        return f"Add it. {part.get('description', '')}{choice}".strip()
    if kind == "int_type" and isinstance(value, str):
        return "Remove the quotes." if value.isdigit() else "Write the number alone; its unit is in the field's name."
    if kind == "bool_type" and value in ("true", "false"):
        return "Remove the quotes."
    if kind in ("string_type", "union_tag_not_found"):
        return str(part.get("description", ""))
    if kind == "model_type":
        return f"Its fields: {_listed(part.get('properties', {}))}."
    return _REMEDY_OF_TYPE.get(kind, "")


def _remedy_of_pattern(one: dict[str, Any]) -> str:
    if one["ctx"]["pattern"] == base.TABLE and "{" in one["input"]:
        return f'For a name by column: {{template: "{shown(one["input"])}", allowed: [...], otherwise: ...}}.'
    return ""


def _fields_here(root: dict[str, Any], path: document.Path) -> str:
    known = jsonschema.at(root, path[:-1]).get("properties", {})
    meant = nearest(str(path[-1]), known)
    return (f"Did you mean {meant}? " if meant else "") + f"Known here: {_listed(known)}."


def _choice(part: dict[str, Any], path: document.Path, read: document.Document) -> tuple[str, str]:
    """What is wrong with a word that isn't one of those allowed."""
    allowed = part.get("enum") or [part.get("const", "")]
    written = read.written.get(path)
    found = written if written is not None else _found(read.data, path)
    reading = (
        f"; YAML reads it as {scalars.spoken(scalars.resolve(written))}" if written and found != scalars.resolve(written) else ""
    )
    meant = nearest(str(found), allowed) if len(allowed) > 1 else None
    return f"must be {_either(allowed)}{reading}", f"Did you mean {meant}?" if meant else ""


def _found(data: Any, path: document.Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _trap(path: document.Path, read: document.Document) -> errors.Problem:
    """An unquoted value that stands where text is meant and that YAML reads as something else."""
    written = read.written[path]
    found = scalars.resolve(written)
    reading = "as text here but as a date elsewhere" if isinstance(found, str) else f"as {scalars.spoken(found)}"
    message = f"must be text, and YAML reads it {reading}"
    return errors.Problem(
        field=document.field(path), value=written, message=message, remedy=f'Quote it: "{written}".', line=read.line(path)
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
