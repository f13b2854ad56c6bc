"""A DuckDB table as a target."""

import duckdb
import pyarrow as pa
import pytest

from penstock.core import results
from penstock.sinks import port, tables
from penstock.sinks.duckdb import table as duckdb_table

VERIFY, CREATE, ADD = tables.TablePolicy.VERIFY, tables.TablePolicy.CREATE_IF_MISSING, tables.TablePolicy.ADD_COLUMNS


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        yield opened


def refused(connection, schema, policy=VERIFY, table="clicks"):
    with pytest.raises(port.SinkError) as caught:
        duckdb_table.prepare(connection, table, pa.schema(schema), policy)
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    return caught.value.failure


@pytest.mark.parametrize(
    "name",
    ["", "a.b.c", 'a"; DROP TABLE clicks; --', "a\0b", "a\n", ".a", "a.", "x" * 129, "_penstock_landed", "main._PENSTOCK_x"],
)
def test_what_is_no_name_is_refused(connection, name):
    """Catches SQL smuggled in as a table name, and Penstock's own journal written to as a table."""
    assert refused(connection, [("id", pa.int64())], CREATE, table=name).code == "TABLE_NAME"


@pytest.mark.parametrize("name", ["clicks", "Ünïcode", "with space", "a-b", "select", "x'y", "a;b"])
def test_odd_but_plain_names_work(connection, name):
    """Catches a name that is pasted into SQL unquoted."""
    duckdb_table.prepare(connection, name, pa.schema([("id", pa.int64())]), CREATE)
    assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [(name,)]


def test_a_hostile_column_name_is_only_a_name(connection):
    """Catches a column name that ends the quotes."""
    name = 'x" INTEGER); DROP TABLE other; --'
    connection.execute("CREATE TABLE other (a INTEGER)")
    duckdb_table.prepare(connection, "clicks", pa.schema([(name, pa.int64())]), CREATE)
    assert name in duckdb_table.prepare(connection, "clicks", pa.schema([(name, pa.int64())]), VERIFY)[name.lower()].name
    assert len(connection.execute("SELECT * FROM duckdb_tables()").fetchall()) == 2


def test_a_missing_table_is_created_only_by_policy(connection):
    """Catches a table made under Verify."""
    failure = refused(connection, [("id", pa.int64())])
    assert failure.code == "NO_TABLE"
    assert "CreateIfMissing" in failure.remedy
    assert list(duckdb_table.prepare(connection, "clicks", pa.schema([("id", pa.int64())]), CREATE)) == ["id"]


def test_missing_columns_are_added_only_by_policy(connection):
    """Catches ALTER TABLE under CreateIfMissing."""
    connection.execute("CREATE TABLE clicks (id BIGINT)")
    schema = [("id", pa.int64()), ("region", pa.string())]
    failure = refused(connection, schema, CREATE)
    assert 'no column "region" (it has id)' in failure.message
    assert "AddColumns" in failure.remedy
    assert list(duckdb_table.prepare(connection, "clicks", pa.schema(schema), ADD)) == ["id", "region"]


def test_every_fault_is_named_at_once(connection):
    """Catches a check that stops at the first fault, so that mending a table takes one restart per column."""
    connection.execute("CREATE TABLE clicks (id INTEGER, day DATE, kind VARCHAR NOT NULL, seq INTEGER NOT NULL DEFAULT 0)")
    failure = refused(connection, [("id", pa.float64()), ("day", pa.timestamp("us")), ("more", pa.string())])
    assert 'column "id" is INTEGER, the pipeline sends DOUBLE' in failure.message
    assert 'column "day" is DATE, the pipeline sends TIMESTAMP' in failure.message
    assert 'no column "more"' in failure.message
    assert 'column "kind" is NOT NULL without a default' in failure.message
    assert "seq" not in failure.message.replace("it has id, day, kind, seq", "")
    assert 'CAST("id" AS INTEGER)' in failure.remedy


def test_names_that_differ_in_case_only_are_refused(connection):
    """Catches two columns written into one, because SQL does not tell them apart."""
    assert refused(connection, [("a", pa.int64()), ("A", pa.int64())], CREATE).code == "COLUMN_NAME"


@pytest.mark.parametrize("type_", [pa.null(), pa.list_(pa.null()), pa.struct([("x", pa.null())])], ids=str)
def test_a_column_without_a_type_is_refused(connection, type_):
    """Catches a table created with a column that can never hold a value."""
    assert refused(connection, [("a", type_)], CREATE).code == "COLUMN_TYPE"


def test_columns_match_without_regard_to_case(connection):
    """Catches a table made by hand in capitals refused for it."""
    connection.execute("CREATE TABLE clicks (ID BIGINT)")
    assert duckdb_table.prepare(connection, "CLICKS", pa.schema([("id", pa.int64())]), VERIFY)["id"].name == "ID"
