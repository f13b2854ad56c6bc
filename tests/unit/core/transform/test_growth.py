"""What an expression can make of a row, and that what it could make in excess is never asked of the engine."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.core import schema
from penstock.core.transform import compile as compiler
from penstock.core.transform import spec, transform

_SCHEMA = schema.Schema(
    fields=(
        schema.Field(name="s", type=schema.FieldType.STRING),
        schema.Field(name="l", type=schema.FieldType.LIST, element=schema.Field(name="item", type=schema.FieldType.STRING)),
    )
)


def _told(sql: str) -> spec.TransformSpec:
    wanted = spec.Expression(name="x", sql=sql, path="spec.transform.select[0].value")
    return spec.TransformSpec(schema=_SCHEMA, select=(spec.Output(name="x", value=wanted),))


def _run(sql: str, rows: list[tuple[str, list[str]]], most_bytes: int = 16 << 20) -> spec.Transformed:
    known = transform.Transform(_told(sql), memory_limit_bytes=most_bytes)
    table = pa.table({"s": [text for text, _ in rows], "l": pa.array([items for _, items in rows], pa.list_(pa.string()))})
    numbers = pa.array(range(len(rows)), pa.int32())
    made = known.run(table.select(list(known.input_columns)).append_column(spec.EVENT_COLUMN, numbers))
    known.close()
    return made


@pytest.mark.parametrize(
    "sql",
    [
        "upper(trim(s)) || ':' || lower(s)",
        "replace(s, '-', '__')",
        "regexp_replace(s, '[0-9]+', '#', 'g')",
        "lpad(s, 200, ' ')",
        "repeat(s, 3)",
        "array_to_string(l, ', ')",
        "list_transform(l, lambda x: upper(x))",
        "[x FOR x IN l IF len(x) > 2]",
        "list_sum(list_transform(l, lambda x: length(x)))",
        "to_json({'a': s})",
        "string_split(s, ',')[1]",
    ],
)
def test_everyday_expressions_are_not_asked_for_their_size(sql: str) -> None:
    """Catches a bound so generous to itself that every pipeline pays for it."""
    assert not [step for step in compiler.compile(_told(sql)).steps if step.wild]


@pytest.mark.parametrize(
    "sql",
    [
        "repeat(s, 10000)",
        "replace(s, 'x', s)",
        "regexp_replace(s, 'x', s, 'g')",
        "list_transform(l, lambda x: s || x)",
        "list_transform(l, lambda x: l)",
        "list_sum(list_transform(l, lambda x: length(repeat(s, 100) || x)))",
        "CASE WHEN s = 'y' THEN 'z' ELSE repeat(s, 10000) END",
        "CAST(repeat(s, 10000) AS BLOB)",
    ],
)
def test_a_row_that_would_take_all_memory_fails_and_its_neighbours_land(sql: str) -> None:
    """Catches each multiplication that is left out of the bound: the engine's own limit does not see this text."""
    large = ("x" * 60_000, ["x" * 60] * 4_000)
    made = _run(sql, [("y", ["a"]), large, ("z", ["b"])])
    assert [(why.event, why.expression) for why in made.failures] == [(1, "spec.transform.select[0].value")]
    assert "more than the 16 MiB that a row may take" in made.failures[0].message
    assert made.rows.column(spec.EVENT_COLUMN).to_pylist() == [0, 2]


def test_rows_that_are_large_together_are_taken_apart_and_come_in_order() -> None:
    """Catches parts that lose, double or reorder rows."""
    rows = [(chr(97 + n) * 300, [""]) for n in range(26)]
    made = _run("repeat(s, 2000)", rows, most_bytes=8 << 20)
    assert made.failures == ()
    assert made.rows.column("x").to_pylist() == [text * 2_000 for text, _ in rows]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("list_reduce(l, lambda a, x: a || a)", "grow by a factor"),
        ("list_reduce(l, lambda a, x: replace(a, 'x', 'yy'))", "grow by a factor"),
        ("list_reduce(l, lambda a, x: CASE WHEN x = 'a' THEN a ELSE concat(a, x, a) END)", "grow by a factor"),
        ("repeat(repeat('x', 10000), 10000)", "of a row that holds nothing"),
        ("length(list_transform(range(10000), lambda x: repeat('x', 10000)))", "of a row that holds nothing"),
        ("regexp_matches(s, s)", "a pattern that isn't plain text"),
        ("regexp_replace(s, '" + "a" * 1_001 + "', '')", "a pattern that isn't plain text"),
    ],
)
def test_what_multiplies_without_data_is_refused(sql: str, message: str) -> None:
    """Catches constants worked out while a query is planned, doubling, and patterns that take minutes on one row."""
    (problem,) = compiler.check(_told(sql))
    assert message in problem.message


def test_an_accumulator_may_take_in_each_item() -> None:
    """Catches a ban on joining text by list_reduce."""
    assert _run("list_reduce(l, lambda a, x: a || '-' || x)", [("", ["a", "b", "c"])]).rows.column("x").to_pylist() == ["a-b-c"]
