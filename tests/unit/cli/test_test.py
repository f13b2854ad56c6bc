"""`penstock test` on a file of good, bad and awkward events."""

from __future__ import annotations

import json
import pathlib

import pytest
from click import testing

from penstock.cli import test as command
from penstock.core import errors

_PIPELINE = """apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders}
spec:
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: region, type: String}
      - {name: items, type: List, element: {type: Struct, fields: [{name: sku, type: String}, {name: qty, type: String}]}}
  transform:
    explode: {field: items, as: item, indexAs: item_no}
    filter: {expression: "item.sku <> 'none'"}
    select:
      - {name: order_id, value: id}
      - {name: sku, value: item.sku}
      - {name: qty, value: "CAST(item.qty AS INTEGER)"}
      - {name: region, routeOnly: true}
  sinks:
    - name: all
      type: DuckDB
      duckDB: {path: out.duckdb, table: {template: "orders_{region}", allowed: [eu], otherwise: orders_rest}}
    - {name: large, type: DuckDB, when: qty > 5, duckDB: {path: large.duckdb, table: orders}}
"""
_EVENTS = """{"id": "a", "region": "eu", "items": [{"sku": "x", "qty": "1"}, {"sku": "none"}, {"sku": "y", "qty": "9"}]}

{"id": "b", "items": [{"sku": "x", "qty": "two"}]}
{"id": 7}
{"id": "c"
{"id": "d", "items": []}
"""


@pytest.fixture
def written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("p.yaml").write_text(_PIPELINE, encoding="utf-8")
    pathlib.Path("bad.yaml").write_text(_PIPELINE.replace("item.sku}", "itm.sku}"), encoding="utf-8")
    pathlib.Path("e.ndjson").write_text(_EVENTS, encoding="utf-8")
    pathlib.Path("good.ndjson").write_text(_EVENTS.splitlines()[0], encoding="utf-8")


def _run(*arguments: str) -> testing.Result:
    return testing.CliRunner().invoke(command.test, list(arguments))


@pytest.mark.usefixtures("written")
def test_text_shows_rows_refusals_failures_and_counts() -> None:
    """Catches a refusal or a failure that is named by its index among the accepted, not by its line in the file."""
    result = _run("p.yaml", "e.ndjson")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("line 4: rejected: id: ")
    assert lines[1].startswith("line 5: rejected: ")
    failed = "spec.transform.select[2].value: Could not convert string 'two' to INT32"
    assert any(line.startswith(f"line 3, item 0: all: failed: {failed}") for line in lines)
    assert any(line.startswith(f"line 3, item 0: large: failed: {failed}") for line in lines)
    assert "all: 3 events → 3 rows, 1 filtered, 0 left to other sinks, 1 failed" in lines
    assert "large: 3 events → 1 row, 1 filtered, 2 left to other sinks, 1 failed" in lines
    assert lines[-1] == "2 events rejected"
    assert [line.split() for line in lines if line.split()[:1] == ["1"]][:2] == [
        ["1", "orders_eu", "a", "x", "1"],
        ["1", "orders_eu", "a", "y", "9"],
    ]


@pytest.mark.usefixtures("written")
def test_json_has_an_object_for_each_thing() -> None:
    """Catches rows without the line and item they came from, which a script can't do without."""
    result = _run("p.yaml", "e.ndjson", "--sink", "all", "-o", "json")
    found = [json.loads(line) for line in result.output.splitlines()]
    assert [one["line"] for one in found if one["kind"] == "rejected"] == [4, 5]
    assert [one for one in found if one["kind"] == "row"][1] == {
        "kind": "row",
        "sink": "all",
        "line": 1,
        "item": 2,
        "table": "orders_eu",
        "row": {"order_id": "a", "sku": "y", "qty": 9},
    }
    assert [(one["line"], one["item"]) for one in found if one["kind"] == "failed"] == [(3, 0)]
    assert found[-1]["sinks"] == [{"sink": "all", "events": 3, "rows": 3, "filtered": 1, "other_lanes": 0, "failed": 1}]


@pytest.mark.usefixtures("written")
def test_all_well_is_exit_code_0_and_rows_can_be_few() -> None:
    """Catches a wrong exit code, and a limit on rows that changes the counts."""
    result = _run("p.yaml", "good.ndjson", "--sink", "all", "--rows", "1")
    assert result.exit_code == 0
    assert "all: the first 1 row" in result.output
    assert "all: 1 event → 2 rows, 1 filtered" in result.output


@pytest.mark.usefixtures("written")
def test_a_pipeline_with_bad_sql_is_refused_with_its_line() -> None:
    """Catches a check left to the first event."""
    result = _run("bad.yaml", "e.ndjson")
    assert isinstance(result.exception, errors.InvalidPipelineError)
    (problem,) = result.exception.problems
    assert (problem.line, problem.message) == (15, 'unknown column "itm.sku" (did you mean "item.sku"?)')


@pytest.mark.usefixtures("written")
def test_an_unknown_sink_is_told_with_those_there_are() -> None:
    """Catches a silent run of no lane at all."""
    result = _run("p.yaml", "e.ndjson", "--sink", "lrage")
    assert (result.exit_code, result.output) == (1, 'error: there is no sink "lrage"\n    sinks here: all, large\n')


@pytest.mark.usefixtures("written")
def test_nothing_is_left_behind() -> None:
    """Catches a store or a log opened for a trial."""
    before = sorted(pathlib.Path().iterdir())
    _run("p.yaml", "e.ndjson")
    assert sorted(pathlib.Path().iterdir()) == before
