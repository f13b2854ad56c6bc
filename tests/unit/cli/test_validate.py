"""`penstock validate` on files of all sorts."""

from __future__ import annotations

import json
import pathlib

import pytest
from click import testing

from penstock.api import jsonschema
from penstock.cli import validate

_GOOD = """apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec:
  schema: {fields: [{name: id, type: String}]}
  sinks: [{name: warehouse, type: DuckDB, duckDB: {path: out.duckdb, table: clicks}}]
"""
_BAD_FIELD = _GOOD.replace("table:", "tabel:")
_BAD_SQL = _GOOD.replace("  sinks:", "  transform:\n    select:\n      - {name: x, value: idd}\n  sinks:")


def _run(*arguments: str, stdin: bytes | None = None) -> testing.Result:
    return testing.CliRunner().invoke(validate.validate, list(arguments), input=stdin)


@pytest.fixture
def written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": _GOOD, "field": _BAD_FIELD, "sql": _BAD_SQL}.items():
        pathlib.Path(f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("written")
def test_a_good_file_is_ok() -> None:
    """Catches a wrong exit code, on which scripts rely."""
    result = _run("good.yaml")
    assert (result.exit_code, result.output) == (0, "good.yaml: OK (BatchPipeline clicks)\n")


@pytest.mark.usefixtures("written")
def test_a_bad_file_gives_file_line_field_value_and_remedy() -> None:
    """Catches a problem that an editor can't jump to."""
    result = _run("good.yaml", "field.yaml")
    assert result.exit_code == 1
    assert (
        'field.yaml:6: spec.sinks[0].duckDB.tabel: "clicks" is not a field that is known here\n    Did you mean table?'
        in result.output
    )


@pytest.mark.usefixtures("written")
def test_the_sql_is_compiled_and_its_problems_have_lines() -> None:
    """Catches SQL that is only looked at when events flow."""
    result = _run("sql.yaml")
    assert result.exit_code == 1
    assert "sql.yaml:8: spec.transform.select[0].value:" in result.output
    assert "id" in result.output


@pytest.mark.usefixtures("written")
def test_a_problem_that_all_sinks_share_is_told_once() -> None:
    """Catches ten sinks that repeat one mistake of the select."""
    sinks = "[{name: a, type: DuckDB, duckDB: {path: o, table: t}}, {name: b, type: DuckDB, duckDB: {path: p, table: t}}]"
    pathlib.Path("two.yaml").write_text(_BAD_SQL.split("  sinks:")[0] + f"  sinks: {sinks}\n", encoding="utf-8")
    assert _run("two.yaml").output.count("two.yaml:8") == 1


@pytest.mark.usefixtures("written")
def test_json_says_the_same_to_a_script() -> None:
    """Catches a problem that only people can read."""
    result = _run("good.yaml", "field.yaml", "-o", "json")
    good, bad = json.loads(result.output)
    assert (result.exit_code, good["valid"], good["objects"], good["problems"]) == (1, True, ["BatchPipeline clicks"], [])
    assert (bad["valid"], bad["problems"][0]["line"], bad["problems"][0]["field"]) == (False, 6, "spec.sinks[0].duckDB.table")


def test_standard_input_is_a_file() -> None:
    """Catches `penstock infer … | penstock validate -`."""
    assert _run("-", stdin=_GOOD.encode()).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["nowhere.yaml"], ["-o", "xml", "-"]])
def test_a_wrong_command_line_is_told_apart_from_a_wrong_file(arguments: list[str]) -> None:
    """Catches exit code 1 for a file that isn't there."""
    assert _run(*arguments).exit_code == 2


def test_the_schema_is_printed_without_a_file() -> None:
    """Catches an editor's schema that differs from what is checked."""
    assert json.loads(_run("--schema").output) == jsonschema.json_schema()


def test_an_endless_file_is_read_no_further_than_the_bound() -> None:
    """Catches `penstock validate /dev/zero`."""
    result = _run("/dev/zero")
    assert (result.exit_code, "larger than" in result.output) == (1, True)
