"""The committed JSON Schema is the one the models have."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from penstock.api import jsonschema
from penstock.api.reading import scalars

_COMMITTED = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "batchpipeline.schema.json"


def _parts(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [found for one in part for found in _parts(one)]
    if not isinstance(part, dict):
        return []
    return [part, *(found for one in part.values() for found in _parts(one))]


def test_the_committed_schema_is_up_to_date() -> None:
    """Catches an edit of the models without `python -m penstock.api.jsonschema > docs/reference/batchpipeline.schema.json`."""
    assert json.loads(_COMMITTED.read_text(encoding="utf-8")) == jsonschema.json_schema()


def test_every_string_list_mapping_and_integer_has_bounds() -> None:
    """Catches an unbounded field, which makes a cluster refuse the rules over it."""
    needs = {
        "string": ({"maxLength"}, {"enum"}, {"const"}, {"format"}),
        "integer": ({"minimum", "maximum"},),
        "array": ({"maxItems"},),
        "number": (),
    }
    unbounded = [
        part
        for part in _parts(jsonschema.json_schema())
        if isinstance(part.get("type"), str)
        and part["type"] in needs
        and not any(wanted <= part.keys() for wanted in needs[part["type"]])
        and part != {"type": "string"}  # keys and values of metadata, which belong to the cluster
    ]
    assert unbounded == []


def test_every_field_is_described() -> None:
    """Catches a field of which `kubectl explain` would say nothing, or repeat its name."""
    root = jsonschema.json_schema()
    bare = [
        f"{name}.{field}"
        for name, model in {"BatchPipeline": root, **root["$defs"]}.items()
        for field, part in model.get("properties", {}).items()
        if len(_described(root, part)) < 10
    ]
    assert bare == []


def _described(root: dict[str, Any], part: dict[str, Any]) -> str:
    target = root["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else {}
    found: str = part.get("description") or target.get("description", "")
    return found


def test_no_word_of_an_enumeration_is_something_else_in_yaml() -> None:
    """Catches an Off or No among the choices: unquoted, YAML reads a boolean."""
    words = {word for part in _parts(jsonschema.json_schema()) for word in part.get("enum", ())}
    assert [word for word in words if scalars.resolve(word) != word] == []
