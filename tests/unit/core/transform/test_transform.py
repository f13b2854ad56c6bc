"""The parts of a transform that the comparison with the plain loop does not reach."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from penstock.core import schema
from penstock.core.transform import engine, spec, transform

FieldType = schema.FieldType


def field(name, kind, **rest):
    return schema.Field(name=name, type=kind, **rest)


SCHEMA = schema.Schema(
    fields=(
        field("id", FieldType.STRING),
        field("n", FieldType.INT64),
        field("price", FieldType.DECIMAL, precision=18, scale=4),
        field("day", FieldType.DATE),
        field("raw", FieldType.BYTES),
        field("props", FieldType.JSON),
        field("items", FieldType.LIST, element=field("element", FieldType.INT32)),
    )
)
EXPLODE = spec.Explode(field="items", item="item", index="item_no")


def output(name, sql=None, path="p", **rest):
    return spec.Output(name=name, value=spec.Expression(name=name, sql=sql, path=path) if sql else None, **rest)


def expression(sql, path="p", name="x"):
    return spec.Expression(name=name, sql=sql, path=path)


def made_of(*select, limits=None, **rest):
    return transform.Transform(spec.TransformSpec(schema=SCHEMA, select=select or None, **rest), **(limits or {}))


def group(known, events, schema_=SCHEMA):
    columns = [
        *schema.arrow_schema(schema_),
        pa.field("_original", pa.binary()),
        pa.field("_received_at", pa.timestamp("us", "UTC")),
    ]
    table = pa.Table.from_pylist(events, schema=pa.schema(columns)).select(known.input_columns)
    return table.append_column("_event", pa.array(np.arange(len(events)), pa.int32()))


def run(known, events, schema_=SCHEMA):
    return known.run(group(known, events, schema_))


def test_without_select_all_fields_are_written_as_they_came():
    """Catches a default that loses a column, a type or the mark that says JSON."""
    known = made_of()
    assert known.output_schema.equals(schema.arrow_schema(SCHEMA), check_metadata=True)
    event = {"id": "a", "n": 1, "price": None, "day": datetime.date(2026, 1, 1), "raw": b"\x00", "props": "{}", "items": [1]}
    made = run(known, [event])
    assert made.rows.to_pylist() == [{"_event": 0, "_item": 0} | event]


def test_without_select_the_item_stands_in_the_place_of_its_array():
    """Catches every row carrying the whole array it was made from."""
    known = made_of(explode=EXPLODE)
    assert known.output_schema.names == ["id", "n", "price", "day", "raw", "props", "item", "item_no"]
    assert run(known, [{"id": "a", "items": [5, 6]}]).rows.column("item").to_pylist() == [5, 6]


def test_the_schema_of_a_pipeline_that_declares_none_gives_the_event_and_when_it_came():
    """Catches received_at read from the event, where it is always missing."""
    whole = schema.Schema(fields=(field("event", FieldType.JSON), field("received_at", FieldType.TIMESTAMP)), whole_event=True)
    known = transform.Transform(spec.TransformSpec(schema=whole))
    assert known.input_columns == ("event", "_received_at")
    came = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = run(known, [{"event": "{}", "_received_at": came}], whole)
    assert made.rows.select(["event", "received_at"]).to_pylist() == [{"event": "{}", "received_at": came}]


def test_the_time_of_arrival_and_the_events_own_text_can_be_used():
    """Catches hidden columns that expressions need but are not read."""
    known = made_of(output("came", "epoch_ms(received_at)"), output("extra", "original->>'$.extra'"))
    assert known.input_columns == ("_received_at", "_original")
    came = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = run(known, [{"_received_at": came, "_original": b'{"extra": "e"}'}, {"_received_at": None, "_original": None}])
    assert made.rows.column("came").to_pylist() == [1767225600000, None]
    assert made.rows.column("extra").to_pylist() == ["e", None]


def test_a_variable_that_only_reads_is_read_not_computed():
    """Catches a path that is lost where a variable stands between: the whole struct would be written."""
    struct = schema.Schema(fields=(field("meta", FieldType.STRUCT, fields=(field("host", FieldType.STRING),)),))
    host = expression("meta.host", name="host")
    known = transform.Transform(
        spec.TransformSpec(schema=struct, variables=(host,), select=(output("host"), output("h", "host")))
    )
    made = run(known, [{"meta": {"host": "a"}}, {"meta": None}], struct)
    assert made.rows.select(["host", "h"]).to_pylist() == [{"host": "a", "h": "a"}, {"host": None, "h": None}]


def test_computed_times_are_in_utc_whatever_the_machine_says():
    """Catches times in the zone of the machine, which two pods may not share."""
    known = made_of(output("later", "received_at + INTERVAL 1 DAY"), output("day", "strftime(received_at, '%d %H')"))
    assert known.output_schema.field("later").type == pa.timestamp("us", tz="UTC")
    assert run(known, [{"_received_at": 0}]).rows.column("day").to_pylist() == ["01 00"]


def test_whole_number_sums_are_written_in_64_bits():
    """Catches a type of 128 bits handed to stores that have none."""
    known = made_of(output("total", "list_sum(items)"))
    assert known.output_schema.field("total").type == pa.int64()
    assert run(known, [{"items": [1, 2]}, {"items": None}]).rows.column("total").to_pylist() == [3, None]


def test_a_table_outside_the_allowed_ones_becomes_the_other():
    """Catches a template that writes wherever an event says."""
    table = spec.TableTemplate(template="it's_{id}_{n}", allowed=("a", "1"), otherwise="re'st", path="p")
    known = made_of(output("n"), output("id", route_only=True), table=table)
    made = run(known, [{"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "b", "n": 2}, {"id": None, "n": 1}, {"id": "x'; DROP"}])
    assert made.rows.column("_table").to_pylist() == ["it's_a_1", "re'st", "re'st", "re'st", "re'st"]
    assert made.rows.column_names == ["_event", "_item", "_table", "n"]


def test_a_template_knows_all_its_tables_before_the_first_row():
    """Catches a table that is missing when its first row comes."""
    table = spec.TableTemplate(template="{kind}_in_{region}", allowed=("a", "b"), otherwise="rest", path="p")
    assert table.tables() == ("rest", "a_in_a", "a_in_b", "b_in_a", "b_in_b")
    assert table.most_tables == 4


def test_a_group_without_events_gives_no_rows_of_the_right_columns():
    """Catches an empty group that fails or forgets its schema."""
    for known in (
        made_of(),
        made_of(output("x", "upper(id)"), explode=EXPLODE, filter=expression("n > 1"), when=expression("x = 'a'")),
    ):
        made = run(known, [])
        assert made.rows.schema.names[2:] == known.output_schema.names
        assert made.rows.num_rows == len(made.made) == 0


def test_a_group_whose_rows_all_fail_gives_none_but_counts_them():
    """Catches rows that reappear because nothing was answered for them."""
    made = run(made_of(output("x", "CAST(id AS INTEGER)", "here")), [{"id": "a"}, {"id": "b"}])
    assert made.rows.num_rows == 0
    assert [(failure.event, failure.expression) for failure in made.failures] == [(0, "here"), (1, "here")]


def test_a_group_whose_rows_are_all_filtered_gives_none_but_counts_them():
    """Catches an empty result taken for all rows."""
    made = run(made_of(output("id"), filter=expression("n > 5")), [{"n": 1}, {"n": 2}])
    assert made.rows.num_rows == 0
    assert made.filtered.tolist() == [1, 1]


def test_a_failing_row_names_its_expression_and_the_engines_reason():
    """Catches a failure blamed on the expression that uses a variable, internal names, or the SQL in the message."""
    known = made_of(
        output("plain", "upper(id)", "select[0]"),
        output("x", "number + 1", "select[1]"),
        variables=(expression("CAST(id AS INTEGER)", "variables[0]", "number"),),
        explode=EXPLODE,
    )
    made = run(known, [{"id": "1", "items": [1]}, {"id": "x", "items": [1, 2]}, {"id": "3", "items": None}])
    message = "Could not convert string 'x' to INT32 when casting from source column id"
    assert [(one.event, one.item, one.expression, one.message) for one in made.failures] == [
        (1, 0, "variables[0]", message),
        (1, 1, "variables[0]", message),
    ]
    assert made.rows.column("x").to_pylist() == [2, 4]


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"filter": expression("CAST(id AS INTEGER) > 0", "filter")}, "filter"),
        ({"when": expression("CAST(id AS INTEGER) > 0", "when")}, "when"),
    ],
)
def test_a_predicate_that_fails_on_a_row_fails_that_row_only(part, place):
    """Catches a row counted as filtered, or left to other lanes, because nobody could tell."""
    made = run(made_of(output("id"), **part), [{"id": "1"}, {"id": "x"}, {"id": "0"}])
    assert made.rows.column("id").to_pylist() == ["1"]
    assert [(one.event, one.expression) for one in made.failures] == [(1, place)]
    assert (made.filtered + made.other_lanes).tolist() == [0, 0, 1]


def test_what_is_filtered_out_can_not_fail():
    """Catches outputs worked out before the filter."""
    known = made_of(output("x", "CAST(id AS INTEGER)"), filter=expression("id <> 'x'"))
    made = run(known, [{"id": "1"}, {"id": "x"}])
    assert (made.filtered.tolist(), made.failures) == ([0, 1], ())


def test_the_parts_of_a_filter_are_tried_from_left_to_right_in_every_query():
    """Catches a count that fails where the rows do not: the engine orders AND as it likes in one place and not in another."""
    known = made_of(output("id"), filter=expression("id <> 'x' AND CAST(id AS INTEGER) > 1"))
    made = run(known, [{"id": "1"}, {"id": "x"}, {"id": "2"}] * 2000)
    assert made.failures == ()
    assert made.filtered.tolist() == [1, 1, 0] * 2000


def test_what_is_filtered_out_is_not_blamed_when_another_row_fails():
    """Catches a search for the guilty that asks rows which the filter has dropped."""
    known = made_of(output("x", "CAST(id AS INTEGER)"), filter=expression("id <> 'x'"))
    made = run(known, [{"id": "1"}, {"id": "x"}, {"id": "y"}])
    assert made.filtered.tolist() == [0, 1, 0]
    assert [one.event for one in made.failures] == [2]


def test_a_repeated_risky_part_does_not_hide_who_is_to_blame(monkeypatch):
    """Catches an engine that lifts the shared part out of TRY, where its failure goes uncaught: rows are then halved instead,
    in hundreds of calls."""
    calls = []
    asked = engine.Engine.run
    monkeypatch.setattr(engine.Engine, "run", lambda self, name, table: calls.append(name) or asked(self, name, table))
    known = made_of(output("a", "CAST(id AS INTEGER) + CAST(id AS INTEGER)", "a"), output("b", "CAST(id AS INTEGER) * 2", "b"))
    events = [{"id": "x" if at % 100 == 0 else str(at)} for at in range(5000)]
    made = run(known, events)
    assert [one.event for one in made.failures] == list(range(0, 5000, 100))
    assert {one.expression for one in made.failures} == {"a"}
    assert len(calls) <= 3 + 2 * len(made.failures)
    assert made.rows.num_rows == 4950


def test_beyond_two_hundred_failures_messages_are_shared_but_no_row_is_lost():
    """Catches a flood of failures that costs a query each, or rows dropped by the bound."""
    made = run(made_of(output("x", "CAST(id AS INTEGER)", "here")), [{"id": f"x{at}"} for at in range(300)] + [{"id": "1"}])
    assert [one.event for one in made.failures] == list(range(300))
    assert made.failures[0].message == made.failures[299].message != made.failures[1].message
    assert made.rows.num_rows == 1


INNER = "list_sum(list_transform(range(100), lambda y: list_sum(list_transform(range(100), lambda z: x * y * z))))"
COUNTING = f"list_sum(list_transform(range(10000), lambda x: {INNER}))"
SLOW = f"CASE WHEN n > 5 THEN {COUNTING} END"


def test_a_row_that_takes_too_long_is_found_and_its_neighbours_land():
    """Catches a time-out that condemns the whole group or goes on for ever."""
    known = made_of(output("x", SLOW, "slow"), limits={"time_limit_seconds": 0.3, "memory_limit_bytes": 2 << 30})
    made = run(known, [{"n": 1}, {"n": 9}])
    assert [(one.event, one.expression, one.message) for one in made.failures] == [(1, "slow", "took longer than 0.3 s")]
    assert made.rows.num_rows == 1


def test_columns_may_come_in_other_types_than_declared_if_they_hold_the_same():
    """Catches a plan that breaks on a dictionary or on large text from another writer of blocks."""
    known = made_of(output("x", "upper(id)"), output("id"))
    ids = pa.array(["a", "b", "a"]).dictionary_encode()
    made = known.run(pa.table({"id": ids, "_event": pa.array([0, 1, 2], pa.int32())}))
    assert made.rows.select(["x", "id"]).to_pylist() == [{"x": "A", "id": "a"}, {"x": "B", "id": "b"}, {"x": "A", "id": "a"}]


def test_an_array_of_fifty_thousand_beside_a_large_text_is_exploded_in_place():
    """Catches the text copied for each item before the query."""
    known = made_of(output("item"), output("size", "length(id)"), explode=EXPLODE, filter=expression("item % 2 = 0"))
    made = run(known, [{"id": "x" * 100_000, "items": list(range(50_000))}, {"id": "y", "items": []}])
    assert made.made.tolist() == [50_000, 1]
    assert made.filtered.tolist() == [25_000, 0]
    assert made.rows.column("size").to_pylist()[:2] == [100_000, 100_000]
    assert made.rows.slice(25_000).to_pylist() == [{"_event": 1, "_item": 0, "item": None, "size": 1}]
