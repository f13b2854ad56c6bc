"""The JSON Schema of `BatchPipeline`, for editors: completion, hover text and red lines while a file is written.

`python -m penstock.api.jsonschema` prints it. The rules between fields are not in it; `penstock validate` knows them.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

from penstock.api.model import base, pipeline


def json_schema() -> dict[str, Any]:
    """The schema as plain data, made anew for each caller."""
    found: dict[str, Any] = _tidy(pipeline.BatchPipeline.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://penstock.dev/schema/v1alpha1/batchpipeline.json",
        "title": "BatchPipeline",
        **found,
    }


@functools.cache
def of_model(model: type[base.Model]) -> dict[str, Any]:
    """The tidied schema of any model, shared: for reading only."""
    found: dict[str, Any] = _tidy(model.model_json_schema(by_alias=True))
    return found


def at(root: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """The part of a tidied schema that describes the value at `path`; empty where the schema knows none."""
    part = _resolved(root, root)
    for step in path:
        inner = part.get("items", {}) if isinstance(step, int) else part.get("properties", {}).get(step, {})
        part = _resolved(root, inner)
    return part


def _resolved(root: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """With references followed; of a choice between a scalar and an object, the object, which has parts."""
    for option in part.get("oneOf", ()):
        if "$ref" in option:
            return _resolved(root, {**option, **{key: value for key, value in part.items() if key != "oneOf"}})
    if "$ref" not in part:
        return part
    target: dict[str, Any] = root["$defs"][part["$ref"].rsplit("/", 1)[1]]
    return {**target, **{key: value for key, value in part.items() if key != "$ref"}}


def _tidy(part: Any) -> Any:
    """Without generated titles, and without null: a field that isn't wanted is left out."""
    if isinstance(part, list):
        return [_tidy(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _tidy(value) for key, value in part.items() if not _is_noise(key, value)}
    kept = {key: _without_null(value) if key == "default" else value for key, value in kept.items()}
    options = kept.get("anyOf", [])
    if {"type": "null"} in options:
        return {**options[0], **{key: value for key, value in kept.items() if key != "anyOf"}}
    return kept


def _is_noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
