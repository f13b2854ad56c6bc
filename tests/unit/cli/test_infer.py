"""A sample becomes a pipeline that takes the sample."""

from __future__ import annotations

import json
import pathlib

import hypothesis
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import strategies as st

from penstock.api import load, lower
from penstock.api.model import pipeline
from penstock.cli import main
from penstock.cli.inferring import pipeline_text, sample
from penstock.core import schema as schemas
from penstock.core.parsing import exact, scalars
from penstock.core.transform import compile as transform_compile

HOSTILE = {
    "y": 1, "on": True, "No": 2, "null": "x", "1": 2.5, "1e3": 1, "first name": "x", "a.b": 3, "meta-data": {"k": 1}, "~": 1,
    "ID": "a", "id": "b", "select": 1, "_event": 1, "_item": 2, "": 5, "é": 1, "#": 1, "a: b": 1, '"': 1, "'": 1, "\n": 1,
    "$x": 1,
    "original": "o", "received_at": "r", "dev": {"device-id": "x"}, "x" * 70: 1, "nested": {"on": {"y": {"deep": {"deeper": 1}}}},
}  # fmt: skip

SAMPLES = {
    "plain": [{"id": "a", "n": 1, "ok": True}, {"id": "b", "n": 2}],
    "hostile names": [HOSTILE],
    "nothing but null": [{"x": None}],
    "empty things": [{"a": [], "b": {}, "c": "", "d": [[]], "e": [None]}],
    "lists of lists": [{"a": [[1, 2], [3]], "b": [[{"c": 1}]]}],
    "conflicts": [{"a": 1, "b": {"c": 1}, "d": [1]}, {"a": "x", "b": [1], "d": ["x"]}, {"a": {"z": 1}, "b": None, "d": None}],
    "wide": [{f"f{number}": number for number in range(300)}],
    "a map": [{"m": {f"k{number}": 1 for number in range(100)}}],
    "huge numbers": [{"a": 10**30, "b": -(2**63), "c": 1e308, "d": 2**63}],
}


def infer(events: list[dict[str, object]], path: pathlib.Path, *arguments: str) -> str:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    result = CliRunner().invoke(main.cli, ["infer", str(path), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def fields_of(*events: dict[str, object]) -> dict[str, dict[str, object]]:
    found = sample.read(json.dumps(event).encode() for event in events)
    text = pipeline_text.render(found, name="p", source="s")
    return {field["name"]: field for field in yaml.safe_load(text)["spec"]["schema"]["fields"]}


def taking(text: str, events: list[dict[str, object]]) -> pipeline.BatchPipeline:
    """The pipeline, which is valid, and whose door refuses none of these events."""
    loaded = load.load_one(text, file="sample")
    assert isinstance(loaded, pipeline.BatchPipeline)
    reader = exact.ExactReader(lower.event_schema(loaded))
    for event in events:
        reader.read(json.dumps(event).encode())
    return loaded


@pytest.mark.parametrize("events", SAMPLES.values(), ids=SAMPLES)
def test_what_it_writes_is_valid_and_takes_the_sample(events: list[dict[str, object]], tmp_path: pathlib.Path) -> None:
    """Catches a name that YAML reads as something else, a type the API does not have, a list nested too deep."""
    taking(infer(events, tmp_path / "sample.ndjson"), events)


def test_hostile_names_are_columns_that_sql_can_select(tmp_path: pathlib.Path) -> None:
    """Catches a column that the query over all fields can't name."""
    loaded = taking(infer([HOSTILE], tmp_path / "sample.ndjson"), [HOSTILE])
    assert transform_compile.check(lower.transform_spec(loaded, loaded.spec.sinks[0])) == []


NAMES = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["y", "Y", "on", "1", "a b", "_x", "id", "ID", "a.b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
    | st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01", "6f1c2d3e-0000-4000-8000-00000000abcd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@hypothesis.given(events=st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), min_size=1, max_size=4))
@hypothesis.settings(max_examples=40, deadline=None)
def test_whatever_the_sample_the_pipeline_takes_it(events: list[dict[str, object]]) -> None:
    """Catches the combination nobody thought of."""
    found = sample.read(json.dumps(event).encode() for event in events)
    if found.fields:
        taking(pipeline_text.render(found, name="p", source="s"), events)


TYPES = {
    "a whole number": ([1, 2], "Int64"),
    "with a fraction": ([1, 2.5], "Float64"),
    "text": (["a", "2026-01-01"], "String"),
    "a time": (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"], "Timestamp"),
    "a date": (["2026-01-01", "2026-01-02"], "Date"),
    "a day that does not exist": (["2026-02-30"], "String"),
    "a UUID": (["6f1c2d3e-0000-4000-8000-00000000abcd"], "Uuid"),
    "true or false": ([True, False], "Boolean"),
    "now this, now that": ([1, "x"], "Json"),
    "beyond 64 bits": ([2**64], "Json"),
    "null and a number": ([None, 1], "Int64"),
}


@pytest.mark.parametrize(("values", "expected"), TYPES.values(), ids=TYPES)
def test_a_type_takes_every_value_it_was_made_from(values: list[object], expected: str) -> None:
    """Catches a type that the pipeline would refuse the sample with."""
    fields = fields_of(*({"v": value} for value in values))
    assert fields["v"]["type"] == expected
    if expected not in ("Json", "Boolean"):
        declared = schemas.Field(name="v", type=schemas.FieldType(expected))
        for value in filter(None, values):
            text = json.dumps(value)
            token = json.loads(text, parse_int=scalars.IntegerToken, parse_float=scalars.RealToken)
            scalars.read(token, declared, "v")


def test_required_is_what_was_always_there() -> None:
    """Catches required: true on a field that was missing or null once, also inside a struct."""
    fields = fields_of({"a": 1, "b": 1, "c": 1, "s": {"x": 1, "y": 1}}, {"a": 2, "b": None, "s": {"x": 1}})
    assert {name for name, field in fields.items() if field.get("required")} == {"a", "s"}
    assert [member.get("required", False) for member in fields["s"]["fields"]] == [True, False]


def test_a_name_that_can_not_be_a_column_gets_one_and_a_path() -> None:
    """Catches a renamed field that reads from the wrong place."""
    fields = fields_of({"meta-data": 1, "1": 2, "_x": 3, "id": "a", "ID": "b"})
    assert {name: field.get("path") for name, field in fields.items()} == {
        "meta_data": "$.meta-data", "field_1": "$.1", "x": "$._x", "id": None, "ID_2": "$.ID",
    }  # fmt: skip


def test_what_no_path_can_name_is_not_passed_over_in_silence(tmp_path: pathlib.Path) -> None:
    """Catches a member that the reader of the file never learns about."""
    text = infer([{"a": 1, "first name": 2, "it's": 3}], tmp_path / "sample.ndjson")
    assert """#   original->>'$."first name"'""" in text
    assert """#   original->>'$."it''s"'""" in text


def test_the_key_it_suggests_was_different_in_every_event() -> None:
    """Catches a suggestion that would drop events that are not the same."""
    read = lambda *events: sample.read(json.dumps(event).encode() for event in events)  # noqa: E731
    assert read({"id": "a", "name": "x"}, {"id": "a", "name": "y"}).key == "name"
    assert read({"name": "x", "user_id": "1", "n": 1}, {"name": "y", "user_id": "2", "n": 2}).key == "user_id"
    assert read({"id": "a"}).key == ""


def test_the_name_comes_from_the_file_or_the_option(tmp_path: pathlib.Path) -> None:
    """Catches a name that no object may have."""
    name = lambda *options: yaml.safe_load(infer([{"a": 1}], tmp_path / "My Clicks_2.ndjson", *options))["metadata"]["name"]  # noqa: E731
    assert name() == "my-clicks-2"
    assert name("--name", "y") == "y"


BAD = {
    "not JSON": ('{"a":1}\nx\n', "line 2 is no JSON"),
    "no object": ("[1]\n", "line 1 is no JSON object"),
    "empty": ("\n", "no event"),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_a_sample_that_is_none_is_refused_by_line(content: str, said: str, tmp_path: pathlib.Path) -> None:
    """Catches a traceback from the depths of a JSON parser."""
    (tmp_path / "sample").write_text(content)
    result = CliRunner().invoke(main.cli, ["infer", str(tmp_path / "sample")])
    assert result.exit_code == 1
    assert said in result.output
