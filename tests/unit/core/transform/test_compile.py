"""What a transform's expressions may say, and what is answered to those that may not."""

import pytest

from penstock.core import errors, schema
from penstock.core.transform import compile as compiler
from penstock.core.transform import engine, functions, sources, spec

FieldType = schema.FieldType


def field(name, kind, **rest):
    return schema.Field(name=name, type=kind, **rest)


ITEM = field(
    "element",
    FieldType.STRUCT,
    fields=(field("sku", FieldType.STRING), field("qty", FieldType.INT32), field("price", FieldType.DECIMAL)),
)
SCHEMA = schema.Schema(
    fields=(
        field("id", FieldType.STRING, required=True),
        field("user_id", FieldType.INT64),
        field("ts", FieldType.TIMESTAMP),
        field("props", FieldType.JSON),
        field("meta", FieldType.STRUCT, fields=(field("device", FieldType.STRING),)),
        field("items", FieldType.LIST, element=ITEM),
    )
)
EXPLODE = spec.Explode(field="items", item="item", index="item_no")


def expression(sql, path="spec.transform.select[0].value"):
    return spec.Expression(name="x", sql=sql, path=path)


def output(name, sql=None, **rest):
    return spec.Output(name=name, value=expression(sql) if sql else None, **rest)


def selecting(*sqls, **rest):
    select = tuple(output(f"x{at}", sql) for at, sql in enumerate(sqls))
    return spec.TransformSpec(schema=SCHEMA, explode=EXPLODE, select=select, **rest)


def only_problem(told):
    (problem,) = compiler.check(told)
    return problem


@pytest.mark.parametrize(
    "sql",
    [
        "id || ':' || coalesce(item_no, 0)",
        "item.qty * item.price",
        "props->>'$.a'",
        "props->'$.a'",
        "original->>'$.extra'",
        "CASE WHEN user_id IN (1, 2) THEN 'few' WHEN user_id BETWEEN 3 AND 9 THEN 'some' ELSE 'many' END",
        "strftime(ts, '%Y-%m-%d')",
        "ts + INTERVAL 1 DAY",
        "ts AT TIME ZONE 'UTC'",
        "date_diff('second', ts, received_at)",
        "extract(year FROM ts)",
        "list_transform(items, lambda x: x.qty + 1)",
        "[x.sku FOR x IN items IF x.qty > 1]",
        "list_sum([x.qty FOR x IN items])",
        "items[1].sku",
        "TRY_CAST(id AS INTEGER)",
        "{'a': id, 'b c': ts}",
        "'it''s' -- a comment",
        "META.Device",
        "repeat(id, 3)",
        "format('{:02d}', user_id)",
    ],
)
def test_an_expression_over_one_event_is_allowed(sql):
    """Catches an allow-list that has lost an everyday function or node."""
    assert compiler.check(selecting(sql)) == []


@pytest.mark.parametrize(
    ("sql", "message", "remedy"),
    [
        ("now()", "uses now", "received_at"),
        ("current_timestamp", '"current_timestamp" can\'t be used', ""),
        ("today()", "uses today", "received_at"),
        ("random()", "uses random", "fields that tell events apart"),
        ("uuid()", "uses uuid", "fields that tell events apart"),
        ("gen_random_uuid()", "uses gen_random_uuid", "fields that tell events apart"),
        ("nextval('s')", "uses nextval", "fields that tell events apart"),
        ("age(ts)", "uses age with one argument", "age(received_at, ts)"),
        ("current_setting('threads')", "uses current_setting", "literal"),
        ("getvariable('v')", "uses getvariable", "literal"),
        ("getenv('HOME')", "uses getenv", "literal"),
        ("current_user", '"current_user" can\'t be used', ""),
        ("read_text('/etc/passwd')", "uses read_text", "literal"),
        ("hash(id)", "uses hash", "md5"),
        ("sum(user_id)", "uses sum", "list_sum"),
        ("count(*)", "uses count_star", "list_sum"),
        ("list_distinct(items)", "uses list_distinct", "list_unique"),
        ("unnest(items)", "uses unnest", "explode"),
        ("sum(user_id) OVER ()", "looks at other rows", "the store"),
        ("(SELECT 1)", "holds a query of its own", "list functions"),
        ("EXISTS (SELECT 1)", "holds a query of its own", ""),
        ("id IN (SELECT 'a')", "holds a query of its own", ""),
        ("(SELECT content FROM read_text('/etc/passwd'))", "holds a query of its own", ""),
        ("*", "stands for many columns", "name each column"),
        ("COLUMNS('i.*')", "stands for many columns", "name each column"),
        ("meta.*", "stands for many columns", "name each column"),
        ("$1", "is not one expression", "one value"),
        ("id, ts", "is not one expression", "one value"),
        ("DISTINCT id", "is not one expression", "one value"),
        ("id FROM src", "is not one expression", "one value"),
        ("id LIMIT 1", "is not one expression", "one value"),
        ("1; DROP TABLE src", "is not SQL", ""),
        ("1) FROM src; --", "is not SQL", ""),
        ("id =", "is not SQL: syntax error", ""),
        ("id AS other", 'gives itself the name "other"', "`name`"),
        ("main.lower(id)", 'calls "main.lower"', "lower(…)"),
        ("lowr(id)", "did you mean lower?", "near it there are lower"),
        ("CAST(id AS nosuch)", "casts to NOSUCH", ""),
        ("CAST(id AS ENUM('a'))", "casts to ENUM", ""),
        ("id COLLATE nocase", "asks for a collation", "lower()"),
        ("TRY(CAST(id AS INTEGER))", '"try" can\'t be used here', "TRY_CAST"),
        ("list_transform(items, x -> x.qty)", "uses x -> …", "lambda x: …"),
        ("list_filter(items, lambda _event: true)", "begins with _", "reserved"),
        ("repeat(id, 1000000)", "gives repeat a size", "as a number"),
        ("repeat(id, user_id)", "gives repeat a size", "as a number"),
        ("range(user_id)", "gives range a size", "as a number"),
        ("format('{:99999}', user_id)", "gives format a format", "below 1000"),
        ("format(id, user_id)", "gives format a format", "below 1000"),
        ("printf('%*d', user_id, 1)", "gives printf a format", "below 1000"),
        ("id + 1", "can't run: No function matches", "casts"),
        ("upper(meta)", "can't run: ", "casts"),
        ("NULL", 'is "NULL"', "CAST(NULL AS VARCHAR)"),
        ("INTERVAL 1 DAY", "is INTERVAL", "epoch(x)"),
        ("props.a", '"props" is text', "props->>'$.a'"),
        ("items.sku", '"items" is a list', "items[1].sku"),
    ],
)
def test_what_may_not_run_is_refused_with_the_way_out(sql, message, remedy):
    """Catches a walk that lets a node, a function or a type through that is not on the list."""
    problem = only_problem(selecting(sql))
    assert problem.field == "spec.transform.select[0].value"
    assert problem.value == sql
    assert message in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    "name", ["_event", "_item", "_table", "__row", "__c0", "__item", "src", "src.id", "rowid", "_received_at"]
)
def test_hidden_columns_and_internal_names_are_unknown_to_expressions(name):
    """Catches names handed to the engine unresolved: a pipeline could then read or forge a row's address."""
    problem = only_problem(selecting(name))
    assert problem.message.startswith(f'unknown column "{name}"')


def test_an_unknown_column_is_answered_with_the_nearest_and_all_there_are():
    """Catches suggestions that forget the members of structs, or list hidden columns."""
    problem = only_problem(selecting("itm.sku"))
    assert problem.message == 'unknown column "itm.sku" (did you mean "item.sku"?)'
    assert problem.remedy == (
        "columns here: id, user_id, ts, props, meta.device, items, received_at, original, item.sku, item.qty, item.price, item_no"
    )


def test_an_unknown_member_is_found_before_any_event_comes():
    """Catches members left to the engine, which would refuse them with internal names."""
    assert only_problem(selecting("item.skuu")).message == 'unknown column "item.skuu" (did you mean "item.sku"?)'


def test_the_event_text_is_there_only_when_unknown_fields_are_kept():
    """Catches `original` offered when the blocks may not carry what it promises."""
    dropped = schema.Schema(fields=SCHEMA.fields, unknown_fields=schema.UnknownFields.DROP)
    problem = only_problem(spec.TransformSpec(schema=dropped, select=(output("x", "original->>'$.a'"),)))
    assert "unknownFields: Keep" in problem.message
    assert sources.ORIGINAL_COLUMN in compiler.compile(selecting("original->>'$.a'")).input_columns
    assert sources.ORIGINAL_COLUMN not in compiler.compile(selecting("props->>'$.a'")).input_columns


def test_only_the_columns_that_are_used_are_read():
    """Catches a plan that decompresses the events' own bytes, or every column, for nothing."""
    assert compiler.compile(selecting("upper(id)", "received_at")).input_columns == ("id", "_received_at", "items")
    assert compiler.compile(spec.TransformSpec(schema=SCHEMA, select=(output("ts"),))).input_columns == ("ts",)


def test_a_bad_variable_is_told_once():
    """Catches a report that blames every expression that speaks of a variable instead of the variable."""
    told = selecting(
        "amount + 1",
        "amount",
        variables=(spec.Expression(name="amount", sql="itm.qty", path="spec.transform.variables[0].value"),),
        filter=expression("amount > 1", "spec.transform.filter.expression"),
    )
    assert only_problem(told).field == "spec.transform.variables[0].value"


def test_every_problem_is_told_at_once():
    """Catches a check that stops at the first."""
    told = selecting("nosuch", "now()", "id", filter=expression("id", "spec.transform.filter.expression"))
    assert [problem.message.split()[0] for problem in compiler.check(told)] == ["is", "unknown", "uses"]
    with pytest.raises(errors.InvalidPipelineError) as raised:
        compiler.compile(told)
    assert len(raised.value.problems) == 3


@pytest.mark.parametrize("sql", ["id", "user_id", "upper(id)"])
def test_a_filter_must_be_true_or_false(sql):
    """Catches a filter that the engine would cast, row by row, at run time."""
    told = selecting("id", filter=expression(sql, "spec.transform.filter.expression"))
    assert "where true or false is needed" in only_problem(told).message


def test_variables_that_double_one_another_are_refused():
    """Catches sixty-four variables of four letters each that grow to 2^64 nodes."""
    variables = [spec.Expression(name="v0", sql="id", path="v0")]
    variables += [spec.Expression(name=f"v{n}", sql=f"v{n - 1} || v{n - 1}", path=f"v{n}") for n in range(1, 64)]
    problems = compiler.check(selecting("id", variables=tuple(variables)))
    assert "too large with its variables put in" in problems[0].message


@pytest.mark.parametrize("sql", ["(" * 5000 + "1" + ")" * 5000, "-" * 3000 + "1", "1" + " + 1" * 2000, "'" + "a" * 20_000 + "'"])
def test_an_expression_of_absurd_size_is_refused_not_crashed_on(sql):
    """Catches a RecursionError, or a check that takes for ever."""
    assert len(compiler.check(selecting(sql))) <= 1


NAMES = [
    ({"select": (output("a", "id"), output("A", "ts"))}, "spec.transform.select[1].name", "is selected twice"),
    ({"select": (output("_event", "id"),)}, "spec.transform.select[0].name", "begins with _"),
    ({"select": (output("a", "id", route_only=True),)}, "spec.transform.select", "writes nothing"),
    (
        {"variables": (spec.Expression(name="ID", sql="1", path="p"),)},
        "spec.transform.variables[0].name",
        "is the name of a column",
    ),
    ({"variables": (spec.Expression(name="_v", sql="1", path="p"),)}, "spec.transform.variables[0].name", "begins with _"),
    ({"explode": spec.Explode(field="items", item="id")}, "spec.transform.explode.as", "is the name of a column already"),
    ({"explode": spec.Explode(field="items", item="i", index="I")}, "spec.transform.explode.indexAs", "is the name of a column"),
    ({"explode": spec.Explode(field="itms", item="i")}, "spec.transform.explode.field", "unknown field"),
    ({"explode": spec.Explode(field="id", item="i")}, "spec.transform.explode.field", "is String, not List"),
]


@pytest.mark.parametrize(("rest", "place", "message"), NAMES, ids=lambda value: value if isinstance(value, str) else "")
def test_names_that_clash_or_are_reserved_are_refused(rest, place, message):
    """Catches two columns of one name, which a store refuses at the first batch, and names that hide ours."""
    problem = only_problem(spec.TransformSpec(schema=SCHEMA, **rest))
    assert problem.field == place
    assert message in problem.message


def test_fields_that_differ_in_case_only_are_refused():
    """Catches members of which SQL could only ever reach one."""
    twice = (field("a", FieldType.STRING), field("A", FieldType.STRING))
    assert "declared twice" in only_problem(spec.TransformSpec(schema=schema.Schema(fields=twice))).message
    inside = schema.Schema(fields=(field("s", FieldType.STRUCT, fields=twice),))
    assert only_problem(spec.TransformSpec(schema=inside)).field == "spec.schema.fields[0].fields[1].name"


def test_a_template_may_only_name_columns_of_the_rows():
    """Catches a template that is filled from a column the lane does not have."""
    table = spec.TableTemplate(template="clicks_{regoin}", allowed=("clicks_eu",), otherwise="clicks", path="spec.sinks[0].t")
    problem = only_problem(spec.TransformSpec(schema=SCHEMA, select=(output("id"),), table=table))
    assert (problem.field, problem.message, problem.remedy) == ("spec.sinks[0].t", 'unknown column "regoin"', "columns here: id")


def test_no_text_of_the_user_stands_in_the_query_unwritten():
    """Catches the user's own text pasted into the query: comments and odd spacing would survive."""
    plan = compiler.compile(selecting("upper(  id /* */ ) || 'a''); DROP TABLE src; --'  -- end"))
    assert "/*" not in plan.main_sql
    assert "-- end" not in plan.main_sql
    assert "'a''); DROP TABLE src; --'" in plan.main_sql
    assert sources.ROW in plan.main_sql


@pytest.mark.parametrize("written", ["getenv('HOME')", "_event", "__row FROM src; DROP VIEW src", "(SELECT 1)"])
def test_what_the_engine_is_given_is_judged_even_if_writing_it_went_wrong(monkeypatch, written):
    """Catches trust in the engine's own rewriting of a tree: a fault in it would be a way in."""
    monkeypatch.setattr(engine.Engine, "unparse", lambda self, tree: f"SELECT {written}")
    assert len(compiler.check(selecting("id || 'a'"))) == 1


def test_what_is_refused_by_name_is_not_allowed_as_well():
    """Catches a function that stands on both lists."""
    assert not functions.ALLOWED & functions.REFUSED.keys()
