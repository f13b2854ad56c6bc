"""Files to objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api import examples

from penstock.api import load
from penstock.api.model import pipeline
from penstock.api.reading import document
from penstock.core import errors

_SINKS = "  sinks: [{name: warehouse, type: DuckDB, duckDB: {path: out.duckdb, table: clicks}}]\n"


def _problems(text: str | bytes) -> list[errors.Problem]:
    with pytest.raises(errors.InvalidPipelineError) as caught:
        load.read(text, file="f.yaml")
    return caught.value.problems


def test_a_pipeline_keeps_what_was_written_and_gets_the_defaults() -> None:
    """Catches a default that overwrites, and an alias that isn't read."""
    found = load.load_one(examples.text("  tracing: {sampledPerMillion: 7}\n" + _SINKS))
    assert found.spec.tracing.sampled_per_million == 7
    assert (found.metadata.namespace, found.spec.source.type, found.spec.sinks[0].retry.initial_backoff_milliseconds) == (
        "default",
        "Ingest",
        200,
    )


def test_snake_case_is_not_a_second_spelling() -> None:
    """Catches a file that runs here and is refused by a cluster."""
    (problem,) = _problems(examples.text("  dead_letters: {}\n" + _SINKS))
    assert (problem.field, "deadLetters" in problem.remedy) == ("spec.dead_letters", True)


def test_all_problems_are_told_in_order_of_lines() -> None:
    """Catches stopping at the first problem."""
    problems = _problems(examples.text("  lifecycle: Gone\n  tracng: {}\n  sinks:\n    - {name: y, type: Duck}\n    - {}\n"))
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert {problem.field for problem in problems} == {
        "spec.lifecycle",
        "spec.tracng",
        "spec.sinks[0].name",
        "spec.sinks[0].type",
        "spec.sinks[1].name",
        "spec.sinks[1].type",
    }


@pytest.mark.parametrize("value", ["y", "yes", "on", "off", "12", "1.5", "2026-01-31", "0x10", "true"])
def test_text_that_yaml_reads_as_something_else_is_to_be_quoted(value: str) -> None:
    """Catches a literal that lands as "True", or "8" for 010."""
    select = f"  transform: {{select: [{{name: a, literal: {value}}}]}}\n"
    (problem,) = _problems(examples.text(select + _SINKS))
    assert (problem.value, problem.remedy) == (value, f'Quote it: "{value}".')
    assert load.read(examples.text(select.replace(value, f'"{value}"') + _SINKS))


def test_a_moment_needs_no_quotes() -> None:
    """Catches a date refused where a date is meant."""
    spec = (
        "  sinks: [{name: w, type: DuckDB, duckDB: {path: o, table: t}, startFrom: {type: Time, time: 2026-01-31T08:00:00Z}}]\n"
    )
    time = load.load_one(examples.text(spec)).spec.sinks[0].start_from.time
    assert time is not None
    assert time.isoformat() == "2026-01-31T08:00:00+00:00"


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a: caf\xe9\n", b"a: 1\nb: \xc3\x28\n"])
def test_bytes_that_are_not_utf8_are_refused_with_the_line(raw: bytes) -> None:
    """Catches a UnicodeDecodeError that gets out."""
    (problem,) = _problems(raw)
    assert ("not UTF-8" in problem.message, problem.line) == (True, raw.count(b"\n", 0, raw.index(max(raw))) + 1)


def test_a_byte_order_mark_is_ignored() -> None:
    """Catches a file saved by a Windows editor."""
    assert load.load_one(b"\xef\xbb\xbf" + examples.text(_SINKS).encode()).metadata.name == "clicks"


@pytest.mark.parametrize("text", ["a: " + "x" * document.MAX_BYTES, b"\xff" * (document.MAX_BYTES + 1)], ids=["text", "bytes"])
def test_a_huge_file_is_refused_unread(text: str | bytes) -> None:
    """Catches reading what no cluster would take."""
    (problem,) = _problems(text)
    assert "larger than" in problem.message


def test_a_run_takes_exactly_one_pipeline() -> None:
    """Catches a second pipeline that is silently left out."""
    one = examples.text(_SINKS)
    with pytest.raises(errors.InvalidPipelineError, match="exactly one BatchPipeline"):
        load.load_one(f"{one}---\n{one}", file="f.yaml")


def test_a_problem_found_later_gets_its_line() -> None:
    """Catches an SQL problem without a line."""
    (loaded,) = load.read(examples.text("  transform:\n    select:\n      - {name: a,\n         value: b}\n" + _SINKS))
    problem = errors.Problem(field="spec.transform.select[0].value", value="b", message="unknown column")
    assert loaded.located(problem).line == 8


def test_a_loaded_pipeline_survives_being_written_down() -> None:
    """Catches a pinned object that can't be read again, which would stop a pipeline from starting."""
    found = load.load_one(examples.text("  schema: {fields: [{name: a, type: Decimal, scale: 0}]}\n" + _SINKS))
    for written in (found.model_dump_json(by_alias=True), found.model_dump_json(by_alias=True, exclude_unset=True)):
        assert pipeline.BatchPipeline.model_validate_json(written) == found
        assert load.load_one(written) == found


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["Kafka", "Time", "$.a", "{a}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=2),
    max_leaves=4,
)
_FULL = json.dumps(
    {
        "source": {"type": "Ingest", "ingest": {"partitionBy": ["id"], "auth": {"type": "None"}}},
        "schema": {
            "fields": [
                {"name": "id", "type": "Int64", "required": True},
                {"name": "l", "type": "List", "element": {"type": "Json"}},
            ]
        },
        "deduplicate": {"key": ["id"]},
        "transform": {
            "explode": {"field": "l", "as": "i"},
            "variables": [{"name": "v", "value": "1"}],
            "select": [{"name": "id"}],
        },
        "sinks": [{**examples.DUCKDB, "batching": {"static": {"rows": 5}}, "startFrom": {"type": "Now"}}],
    }
)


def _problems_or_none(text: str) -> list[errors.Problem]:
    try:
        load.read(text, file="f.yaml")
    except errors.InvalidPipelineError as error:
        return error.problems
    return []


@settings(max_examples=100)
@given(st.data())
def test_any_damage_is_refused_in_words_or_harmless(data: st.DataObject) -> None:
    """Catches a rule or an error text that stumbles over a value of another kind than it expects."""
    spec = json.loads(_FULL)
    holder: Any = spec
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        holder = inner
    holder[key] = data.draw(_VALUES)
    problems = _problems_or_none(examples.text(f"  {json.dumps(spec)}\n"))
    assert all(problem.message and "doesn't fit here" not in problem.message for problem in problems)
