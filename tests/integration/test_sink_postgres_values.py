"""Every type through COPY and back, and values the server refuses: their rows are named, their neighbours land."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid

import pyarrow as pa
import pytest
from tests.integration import pg
from tests.unit.sinks import writes

from penstock.core import schema
from penstock.sinks import port, tables

D, UTC = decimal.Decimal, datetime.UTC
MOMENT = datetime.datetime(2026, 2, 28, 23, 59, 59, 123456, UTC)
DOCUMENT = pa.field("j", pa.string(), metadata={schema.TYPE_METADATA: b"Json"})
MARKED_UUID = pa.field("u", pa.string(), metadata={schema.TYPE_METADATA: b"Uuid"})
ID = "11111111-2222-3333-4444-5555aaaaffff"

VALUES = [
    (pa.string(), "text", ["ä \\ \t", "", None], None),
    (pa.bool_(), "boolean", [True, False, None], None),
    (pa.int16(), "smallint", [-32768, 32767, None], None),
    (pa.int32(), "integer", [-(2**31), 2**31 - 1, None], None),
    (pa.int64(), "bigint", [-(2**63), 2**63 - 1, None], None),
    (pa.int32(), "bigint", [-5, 5, None], None),
    (pa.int64(), "numeric", [-(2**63), 10_000, 0], [D(-(2**63)), D(10_000), D(0)]),
    (pa.uint64(), "numeric(20,0)", [2**64 - 1, 1, None], [D(2**64 - 1), D(1), None]),
    (pa.float64(), "double precision", [1.5e300, -0.0, None], None),
    (pa.float64(), "double precision", [float("inf"), float("-inf"), 0.1], None),
    (pa.float32(), "real", [1.5, None, -2.25], None),
    (pa.decimal128(18, 4), "numeric(18,4)", [D("-12345678901234.5678"), D("0.0001"), None], None),
    (pa.decimal128(5, 2), "numeric", [D("999.99"), D("-0.01"), D("0.00")], None),
    (pa.decimal128(38, 10), "numeric(38,10)", [D("1234567890123456789012345678.0123456789"), D("-1.0000000000"), None], None),
    (pa.decimal128(18, 17), "numeric(18,17)", [D("1.12345678901234567"), D("-0.00000000000000001"), None], None),
    (pa.date32(), "date", [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None], None),
    (pa.timestamp("us", "UTC"), "timestamp with time zone", [MOMENT, datetime.datetime(1, 1, 1, tzinfo=UTC), None], None),
    (pa.timestamp("us"), "timestamp without time zone", [MOMENT.replace(tzinfo=None), None, None], None),
    (pa.time64("us"), "time without time zone", [datetime.time(23, 59, 59, 999999), datetime.time(0), None], None),
    (pa.binary(), "bytea", [b"\x00\xff", b"", None], None),
    (pa.list_(pa.int64()), "bigint[]", [[1, None, 3], [], None], None),
    (pa.list_(pa.string()), "text[]", [["a", "", None], ["ü"], []], None),
    (pa.list_(pa.float64()), "double precision[]", [[0.5], None, [1.0, 2.0]], None),
    (pa.list_(pa.timestamp("us", "UTC")), "timestamptz[]", [[MOMENT], None, []], None),
    (pa.int64(), "text", [1, -1, None], ["1", "-1", None]),
    (pa.string(), "inet", ["10.0.0.1/32", None, "::1"], None),
    (pa.string(), "interval", ["1 day", None, "2 hours"], [datetime.timedelta(1), None, datetime.timedelta(hours=2)]),
    (pa.binary(16), "uuid", [uuid.UUID(ID).bytes, None, bytes(16)], [uuid.UUID(ID), None, uuid.UUID(int=0)]),
    (pa.string(), "uuid", [ID, "{" + ID.upper() + "}", None], [uuid.UUID(ID), uuid.UUID(ID), None]),
]


@pytest.fixture(scope="module")
def shared_dsn(postgres_server):
    return postgres_server.createdb(f"t{uuid.uuid4().hex}")


@pytest.fixture
async def postgres_dsn(shared_dsn):
    """Emptied instead of made anew, which would take longer than most tests here."""
    await pg.emptied(shared_dsn)
    return shared_dsn


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


async def landed(dsn, rows, *, create=None, sent=None, **told):
    """Write `rows` into table clicks, made by `create` or by the policy; the answer."""
    if create:
        await pg.run(dsn, create + ";")
    async with pg.opened(dsn, **told) as sink:
        await sink.describe(writes.LANE, "clicks", rows.schema)
        return await sink.write(writes.batch(rows, sent or writes.span(0, rows.num_rows)))


@pytest.mark.parametrize(
    ("arrow", "type_", "values", "expected"), VALUES, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_value_comes_back_as_it_went(postgres_dsn, arrow, type_, values, expected):
    """Catches a wrong byte order, epoch, weight of a digit, length of a NULL, or offset of a slice."""
    rows = pa.table({"n": pa.array([7, 0, 1, 2], pa.int64()), "v": pa.array([values[0], *values], arrow)}).slice(1)
    answer = await landed(postgres_dsn, rows, create=f"CREATE TABLE clicks (n bigint, v {type_})")
    assert answer.written == 3, answer
    found = [row[0] for row in await pg.run(postgres_dsn, "SELECT v FROM clicks ORDER BY n")]
    want = values if expected is None else expected
    if type_ == "inet":
        found = [None if value is None else str(value) for value in found]
        want = ["10.0.0.1", None, "::1"]
    assert found == want


@pytest.mark.parametrize(
    ("field", "type_", "value", "expected"),
    [
        (DOCUMENT, "jsonb", '{"a": 1.50}', '{"a": 1.50}'),
        (DOCUMENT, "json", '{"a":  1}', '{"a":  1}'),
        (MARKED_UUID, "uuid", ID, uuid.UUID(ID)),
        (pa.field("s", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])), "jsonb", {"a": 1, "b": ["x\n"]}, None),
        (pa.field("l", pa.list_(pa.struct([("a", pa.int64())]))), "jsonb", [{"a": 1}, {"a": None}], None),
    ],
    ids=_words,
)
async def test_a_table_that_is_made_has_the_type_that_was_declared(postgres_dsn, field, type_, value, expected):
    """Catches JSON and UUIDs that end as text, nested values that lose their form, NULLs that become documents."""
    schema_ = pa.schema([field, ("n", pa.int64())])
    rows = pa.Table.from_arrays([pa.array([value, None, value], field.type), pa.array([0, 1, 2], pa.int64())], schema=schema_)
    create = f"CREATE TABLE clicks ({field.name} json, n bigint)" if type_ == "json" else None
    assert (await landed(postgres_dsn, rows, create=create)).written == 3
    found = await pg.run(postgres_dsn, f"SELECT pg_typeof({field.name})::text, {field.name} FROM clicks ORDER BY n")
    assert [kind for kind, _ in found] == [type_] * 3
    values = [json.loads(one) if expected is None and one is not None else one for _, one in found]
    assert values == [expected or value, None, expected or value]


async def test_a_table_is_made_for_every_type_that_can_be_declared(postgres_dsn):
    """Catches a type for which CreateIfMissing has no column."""
    scalars = [kind for kind in schema.FieldType if kind.value not in ("List", "Struct")]
    declared = [schema.Field(name=f"c{at}", type=kind) for at, kind in enumerate(scalars)]
    rows = schema.arrow_schema(schema.Schema(fields=tuple(declared))).empty_table()
    assert (await landed(postgres_dsn, rows, sent=writes.span(0, 1))).written == 0
    asked = "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'clicks'::regclass AND attnum > 0 ORDER BY attnum"
    found = await pg.run(postgres_dsn, asked)
    kinds = dict(zip([field.type.value for field in declared], [row[0] for row in found], strict=True))
    assert kinds["Json"] == "jsonb"
    assert kinds["Uuid"] == "uuid"
    assert kinds["Decimal"].startswith("numeric")


BAD = [
    ("text", pa.string(), "a", "b\0c", "22021"),
    ("jsonb", pa.string(), "{}", "{no", "22P02"),
    ("jsonb", pa.string(), "{}", '"\\u0000"', "22P05"),
    ("varchar(3)", pa.string(), "abc", "abcd", "22001"),
    ("char(2)", pa.string(), "ab", "abc", "22001"),
    ("numeric(5,2)", pa.decimal128(18, 2), D("1.00"), D("1000.00"), "22003"),
    ("date", pa.date32(), 0, 2**31 - 1, "22008"),
    ("date", pa.date32(), 0, -(2**31) + 1, "OUT_OF_RANGE"),
    ("timestamptz", pa.timestamp("us", "UTC"), 0, -(2**63) + 1, "OUT_OF_RANGE"),
    ("timestamptz", pa.timestamp("us", "UTC"), 0, 2**63 - 1, "OUT_OF_RANGE"),
    ("timestamptz[]", pa.list_(pa.timestamp("us", "UTC")), [0], [0, 2**63 - 1], "OUT_OF_RANGE"),
    ("bigint CHECK (v > 0)", pa.int64(), 1, 0, "23514"),
    ("bigint UNIQUE", pa.int64(), None, 9, "23505"),
    ("bigint REFERENCES other", pa.int64(), None, 5, "23503"),
    ("bigint REFERENCES other DEFERRABLE INITIALLY DEFERRED", pa.int64(), None, 5, "23503"),
    ("bigint NOT NULL", pa.int64(), 1, None, "ROW_REFUSED"),
    ("inet", pa.string(), "10.0.0.1", "nowhere", "22P02"),
    ("mood", pa.string(), "ok", "bad", "22P02"),
    ("positive", pa.int64(), 1, -1, "23514"),
    ("mood[]", pa.string(), "{ok}", "{bad}", "22P02"),
]
SETUP = """CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN positive AS bigint CHECK (VALUE > 0);
CREATE TABLE other (id bigint PRIMARY KEY);"""


@pytest.mark.parametrize(("type_", "arrow", "good", "bad", "code"), BAD, ids=_words)
async def test_a_value_the_server_refuses_costs_its_own_row_only(postgres_dsn, type_, arrow, good, bad, code):
    """Catches a neighbour that is lost with it, the wrong row named, a refusal taken for an outage, a value changed silently."""
    await pg.run(postgres_dsn, f"{SETUP} CREATE TABLE clicks (id bigint, v {type_});")
    if code == "23505":
        await pg.run(postgres_dsn, "INSERT INTO clicks VALUES (-1, 9);")
    values = pa.array([bad if at in (3, 41) else good for at in range(50)], arrow)
    rows = pa.table({"id": pa.array(range(50), pa.int64()), "v": values})
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", rows.schema)
        answer = await sink.write(writes.batch(rows, writes.span(0, 50)))
        assert sorted((row.row, row.code) for row in answer.rejected) == [(3, code), (41, code)], answer
        kept = rows.take([at for at in range(50) if at not in (3, 41)])
        assert (await sink.write(writes.batch(kept, writes.span(0, 50)))).written == 48
    assert [at for at in await pg.landed_ids(postgres_dsn) if at >= 0] == kept.column("id").to_pylist()


async def test_hundreds_of_bad_rows_are_found_in_one_pass(postgres_dsn):
    """Catches a search that sends the whole batch again for each bad row."""
    values = ["{" if at % 10 == 0 else "{}" for at in range(1_500)]
    rows = pa.table({"id": pa.array(range(1_500), pa.int64()), "v": values})
    answer = await landed(postgres_dsn, rows, create="CREATE TABLE clicks (id bigint, v jsonb)")
    assert [row.row for row in answer.rejected] == list(range(0, 1_500, 10))
    assert 'column "v"' in answer.rejected[0].message


async def test_two_rows_with_one_unique_value_lose_the_later_one(postgres_dsn):
    """Catches a conflict between two rows of a write that ends as an error of the whole."""
    rows = pa.table({"id": pa.array([1, 2, 1, 3], pa.int64())})
    answer = await landed(postgres_dsn, rows, create="CREATE TABLE clicks (id bigint PRIMARY KEY)")
    assert [row.row for row in answer.rejected] == [2]


@pytest.mark.parametrize(
    ("create", "rows", "says"),
    [
        ("CREATE TABLE clicks (v int)", {"v": pa.array([1], pa.int64())}, 'column "v" is integer, the pipeline sends int64'),
        ("CREATE TABLE clicks (v numeric(9,2))", {"v": pa.array([D("1.000")], pa.decimal128(9, 3))}, '"v" is numeric(9,2)'),
        ("CREATE TABLE clicks (v timestamp)", {"v": pa.array([0], pa.timestamp("us", "UTC"))}, "timestamp without time zone"),
        ("CREATE TABLE clicks (v bigint)", {"v": pa.array(["1"])}, '"v" is bigint'),
        ("CREATE TABLE clicks (w int)", {"v": pa.array([1])}, 'no column "v" (it has w)'),
        ('CREATE TABLE clicks ("V" text)', {"v": pa.array(["1"])}, 'name it "V" in select'),
        ("CREATE TABLE clicks (v int8, w int NOT NULL)", {"v": pa.array([1])}, '"w" is NOT NULL without a default'),
        ("CREATE TABLE clicks (v int8 GENERATED ALWAYS AS IDENTITY)", {"v": pa.array([1])}, "GENERATED ALWAYS AS IDENTITY"),
        ("CREATE TABLE clicks (w int, v int GENERATED ALWAYS AS (w + 1) STORED)", {"v": pa.array([1])}, "is generated"),
        ("CREATE SEQUENCE clicks", {"v": pa.array([1])}, "no table that can be written"),
        ("SELECT 1", {"v": pa.array([1])}, "there is no table clicks"),
    ],
    ids=str,
)
async def test_what_does_not_fit_stops_the_start_with_the_column_and_the_way_out(postgres_dsn, create, rows, says):
    """Catches a narrowing that the server would do in silence, and faults that show only with the first row."""
    with pytest.raises(port.SinkError) as caught:
        await landed(postgres_dsn, pa.table(rows), create=create, table_policy=tables.TablePolicy.VERIFY)
    failure = caught.value.failure
    assert failure.result_class.value == "Config"
    assert says in f"{failure.message} {failure.remedy}"
    assert failure.remedy


async def test_what_the_table_fills_by_itself_need_not_come(postgres_dsn):
    """Catches a refusal of tables with serial, default, identity and generated columns."""
    create = """CREATE TABLE clicks (n serial, i int GENERATED BY DEFAULT AS IDENTITY, a int GENERATED ALWAYS AS IDENTITY,
        d timestamptz NOT NULL DEFAULT now(), v bigint, g bigint GENERATED ALWAYS AS (v + 1) STORED)"""
    assert (await landed(postgres_dsn, pa.table({"v": pa.array([1, 2])}), create=create)).written == 2
    assert await pg.run(postgres_dsn, "SELECT a, g FROM clicks ORDER BY a") == [(1, 2), (2, 3)]


async def test_columns_are_added_where_the_policy_says_so(postgres_dsn):
    """Catches AddColumns that does not, and a column that is added twice."""
    rows = pa.table({"v": pa.array([1]), "w d": pa.array(["x"])})
    told = {"create": "CREATE TABLE clicks (v bigint)", "table_policy": tables.TablePolicy.ADD_COLUMNS}
    assert (await landed(postgres_dsn, rows, **told)).written == 1
    assert (await landed(postgres_dsn, rows, sent=writes.span(5, 6), table_policy=tables.TablePolicy.ADD_COLUMNS)).written == 1
    assert await pg.run(postgres_dsn, "SELECT * FROM clicks") == [(1, "x")] * 2
