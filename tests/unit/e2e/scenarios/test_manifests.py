"""The objects of the scenarios, before any cluster has seen them."""

from __future__ import annotations

import json

from e2e.scenarios import manifests

from penstock.api import load

_SINK = {
    "name": manifests.SINK,
    "type": "Postgres",
    "postgres": {"host": "10.0.0.1", "port": 5432, "database": "d", "table": "orders"},
}


def test_the_pipeline_is_one_that_penstock_takes() -> None:
    """Catches a field that was renamed in the object and not here: every scenario would fail for it."""
    made = manifests.pipeline("n", ["10.0.0.1:9092"], _SINK)
    read = load.load_one(json.dumps(made))
    assert (read.metadata.namespace, read.metadata.name) == ("n", manifests.NAME)


def test_an_edit_changes_what_the_checker_does_not_look_at_and_nothing_else() -> None:
    """Catches an edit that changes the manifest it was made from, after which going back to it is no edit."""
    made = manifests.pipeline("n", ["10.0.0.1:9092"], _SINK)
    changed = manifests.transformed(made, "1 + 1")
    first, second = made["spec"]["transform"]["select"], changed["spec"]["transform"]["select"]
    assert first[:-1] == second[:-1]
    assert (second[-1]["name"], second[-1]["value"]) == ("doubled", "1 + 1")
    assert first[-1]["value"] != "1 + 1"
