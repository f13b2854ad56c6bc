"""The columnar transform beside a plain loop over events: same rows, same order, same counts, same failures."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import schema
from penstock.core.transform import spec, transform

FieldType = schema.FieldType
TAG = schema.Field(
    name="element",
    type=FieldType.STRUCT,
    fields=(schema.Field(name="k", type=FieldType.STRING), schema.Field(name="v", type=FieldType.INT32)),
)
SCHEMA = schema.Schema(
    fields=(
        schema.Field(name="id", type=FieldType.STRING),
        schema.Field(name="n", type=FieldType.INT64),
        schema.Field(name="meta", type=FieldType.STRUCT, fields=(schema.Field(name="host", type=FieldType.STRING),)),
        schema.Field(name="tags", type=FieldType.LIST, element=TAG),
    )
)

texts = st.none() | st.sampled_from(["", "a", "b", "7", "12", "é"])
tags = st.none() | st.fixed_dictionaries({"k": texts, "v": st.none() | st.integers(-3, 3)})
events = st.fixed_dictionaries(
    {
        "id": texts,
        "n": st.none() | st.integers(-3, 3),
        "meta": st.none() | st.fixed_dictionaries({"host": texts}),
        "tags": st.none() | st.lists(tags, max_size=4),
    }
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Which parts the pipeline has; the reference below says what they mean."""

    explode: spec.WhenEmpty | None
    filter: spec.WhenNull | None
    when: bool
    risky: bool


shapes = st.builds(
    Shape,
    explode=st.sampled_from([None, *spec.WhenEmpty]),
    filter=st.sampled_from([None, *spec.WhenNull]),
    when=st.booleans(),
    risky=st.booleans(),
)


def expression(sql, path="p"):
    return spec.Expression(name="x", sql=sql, path=path)


@functools.cache
def compiled(shape):
    exploded = shape.explode is not None
    thing, number = ("tag.k", "tag.v") if exploded else ("meta.host", "n")
    select = [
        spec.Output(name="id"),
        spec.Output(name="thing", value=expression(thing)),
        spec.Output(name="label", value=expression("coalesce(id, '-') || '/' || coalesce(meta.host, '-')")),
        spec.Output(name="double", value=expression("twice")),
        spec.Output(name="origin", literal="it's"),
        spec.Output(name="region", value=expression("meta.host"), route_only=True),
        spec.Output(name="meta"),
    ]
    select += [spec.Output(name="at", value=expression("at"))] if exploded else []
    select += [spec.Output(name="number", value=expression(f"CAST({thing} AS INTEGER)", "risky"))] if shape.risky else []
    return transform.Transform(
        spec.TransformSpec(
            schema=SCHEMA,
            explode=spec.Explode(field="tags", item="tag", index="at", when_empty=shape.explode) if exploded else None,
            variables=(dataclasses.replace(expression(f"{number} * 2"), name="twice"),),
            filter=expression("twice <> 2 OR id = 'a'") if shape.filter else None,
            when_null=shape.filter or spec.WhenNull.KEEP,
            select=tuple(select),
            when=expression("thing <> 'b'") if shape.when else None,
            table=spec.TableTemplate(template="t_{region}", allowed=("a", "b"), otherwise="rest", path="p")
            if shape.when
            else None,
        )
    )


def one_by_one(shape, group):
    """What the pipeline means, as a loop anybody can read."""
    rows, counts, failures = [], [], []
    for number, event in enumerate(group):
        made = filtered = other = 0
        for item, (tag, at) in enumerate(items_of(shape, event)):
            made += 1
            host = (event["meta"] or {}).get("host")
            thing, value = ((tag or {}).get("k"), (tag or {}).get("v")) if shape.explode else (host, event["n"])
            twice = None if value is None else value * 2
            if shape.filter and not kept(shape, twice, event["id"]):
                filtered += 1
                continue
            if shape.risky and thing is not None and not thing.isdigit():
                failures.append((number, item, "risky"))
                continue
            if shape.when and (thing is None or thing == "b"):
                other += 1
                continue
            row = {"_event": number, "_item": item}
            row |= {"_table": f"t_{host}" if host in ("a", "b") else "rest"} if shape.when else {}
            row |= {
                "id": event["id"],
                "thing": thing,
                "label": f"{dash(event['id'])}/{dash(host)}",
                "double": twice,
                "origin": "it's",
            }
            row |= {"meta": event["meta"]}
            row |= {"at": at} if shape.explode else {}
            row |= {"number": None if thing is None else int(thing)} if shape.risky else {}
            rows.append(row)
        counts.append((made, filtered, other))
    return rows, counts, failures


def items_of(shape, event):
    if shape.explode is None:
        return [(None, None)]
    listed = [(tag, at) for at, tag in enumerate(event["tags"] or [])]
    return listed or ([(None, None)] if shape.explode is spec.WhenEmpty.KEEP else [])


def kept(shape, twice, name):
    """`twice <> 2 OR id = 'a'` with SQL's three values."""
    sides = [None if twice is None else twice != 2, None if name is None else name == "a"]
    verdict = True if True in sides else None if None in sides else False
    return shape.filter is spec.WhenNull.KEEP if verdict is None else verdict


def dash(text):
    return "-" if text is None else text


def run(shape, group, blocks):
    known = compiled(shape)
    columns = schema.arrow_schema(SCHEMA)
    table = pa.Table.from_pylist(group, schema=columns)
    cut = len(group) // 2 if blocks > 1 else 0
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)]) if cut else table
    numbered = pieces.select(known.input_columns).append_column("_event", pa.array(np.arange(len(group)), pa.int32()))
    return known, known.run(numbered)


@settings(max_examples=50, deadline=None)
@given(shape=shapes, group=st.lists(events, max_size=12), blocks=st.integers(1, 2))
def test_rows_counts_and_failures_are_those_of_the_plain_loop(shape, group, blocks):
    """Catches rows out of order, a NULL taken for false, an index off by one after an empty array, a struct that loses its
    NULL on the way through the dictionary, a failing row that takes its neighbours along, an event whose rows are made and
    then neither written, counted nor failed."""
    known, made = run(shape, group, blocks)
    rows, counts, failures = one_by_one(shape, group)
    assert made.rows.to_pylist() == rows
    assert list(zip(made.made.tolist(), made.filtered.tolist(), made.other_lanes.tolist(), strict=True)) == counts
    assert [(failure.event, failure.item, failure.expression) for failure in made.failures] == failures
    landed = np.bincount(made.rows.column("_event").to_numpy(), minlength=len(group))
    failed = np.bincount([failure.event for failure in made.failures], minlength=len(group))
    assert (made.made == made.filtered + made.other_lanes + landed + failed).all()
    hidden = {"_event", "_item", "_table"}
    assert [name for name in made.rows.column_names if name not in hidden] == known.output_schema.names
    assert all(made.rows.schema.field(field.name).type == field.type for field in known.output_schema)


@pytest.mark.parametrize("shape", [Shape(spec.WhenEmpty.KEEP, spec.WhenNull.KEEP, True, True), Shape(None, None, False, False)])
def test_many_vectors_and_many_failures_equal_the_plain_loop_too(shape):
    """Catches what only shows beyond the engine's vector of 2,048 rows."""
    group = [
        {
            "id": "a" if at % 3 else None,
            "n": at % 5,
            "meta": {"host": "ab"[at % 2]} if at % 7 else None,
            "tags": [{"k": "x" if (at + item) % 97 == 0 else str(item), "v": item} for item in range(at % 5)],
        }
        for at in range(3000)
    ]
    _, made = run(shape, group, 2)
    rows, counts, failures = one_by_one(shape, group)
    assert made.rows.to_pylist() == rows
    assert made.filtered.tolist() == [filtered for _, filtered, _ in counts]
    assert [(failure.event, failure.item) for failure in made.failures] == [(event, item) for event, item, _ in failures]
