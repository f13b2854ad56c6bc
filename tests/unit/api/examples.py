"""Small pipelines for the tests of this room."""

from __future__ import annotations

import json
from typing import Any

from penstock.api import load
from penstock.api.model import pipeline

DUCKDB: dict[str, Any] = {"name": "warehouse", "type": "DuckDB", "duckDB": {"path": "out.duckdb", "table": "clicks"}}


def text(spec: str) -> str:
    """A BatchPipeline file whose spec is the given YAML, indented by two."""
    return f"apiVersion: penstock.dev/v1alpha1\nkind: BatchPipeline\nmetadata: {{name: clicks}}\nspec:\n{spec}"


def made(**spec: Any) -> pipeline.BatchPipeline:
    """A pipeline with the given spec in the API's own names; without sinks it gets one DuckDB sink."""
    body = {"sinks": [DUCKDB], **spec}
    data = {"apiVersion": pipeline.API_VERSION, "kind": "BatchPipeline", "metadata": {"name": "clicks"}, "spec": body}
    return load.load_one(json.dumps(data))
