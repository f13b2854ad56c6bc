"""What a DuckDB column takes."""

import duckdb
import pytest

from penstock.sinks.duckdb import column_types as duckdb_types


@pytest.mark.parametrize(
    ("column", "value", "taken"),
    [
        ("BIGINT", "INTEGER", True),
        ("INTEGER", "BIGINT", True),  # a value that is too large is that row's fault
        ("DOUBLE", "BIGINT", True),
        ("DECIMAL(18,4)", "INTEGER", True),
        ("BIGINT", "DOUBLE", False),
        ("BIGINT", "DECIMAL(9,2)", False),
        ("DECIMAL(9,2)", "DOUBLE", False),
        ("DECIMAL(9,4)", "DECIMAL(18,4)", True),
        ("DECIMAL(18,2)", "DECIMAL(18,4)", False),
        ("DATE", "VARCHAR", True),
        ("UUID", "VARCHAR", True),
        ("JSON", "VARCHAR", True),
        ("ENUM('a', 'b')", "VARCHAR", True),
        ("VARCHAR", "BIGINT", True),
        ("VARCHAR", "BLOB", False),
        ("VARCHAR", "INTEGER[]", False),
        ("INTEGER[]", "VARCHAR", False),
        ("BOOLEAN", "INTEGER", False),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", True),
        ("TIMESTAMP WITH TIME ZONE", "DATE", True),
        ("DATE", "TIMESTAMP", False),
        ("BIGINT", "TIMESTAMP", False),
        ("BIGINT[]", "INTEGER[]", True),
        ("INTEGER[]", "DOUBLE[]", False),
        ("STRUCT(a BIGINT, b VARCHAR)", "STRUCT(b VARCHAR, a INTEGER)", True),
        ("STRUCT(a BIGINT)", "STRUCT(a BIGINT, b VARCHAR)", False),
        ("STRUCT(a DATE)", "STRUCT(a TIMESTAMP)", False),
        ("MAP(VARCHAR, BIGINT)", "MAP(VARCHAR, INTEGER)", True),
        ("INTEGER[3]", "INTEGER[3]", True),
        ("INTEGER[3]", "INTEGER[2]", False),
    ],
)
def test_a_column_takes_what_keeps_its_meaning(column, value, taken):
    """Catches DuckDB's own rule, under which nearly everything casts and is rounded or cut on the way."""
    assert duckdb_types.accepts(duckdb.sqltype(column), duckdb.sqltype(value)) is taken


@pytest.mark.parametrize(
    ("column", "value"), [("STRUCT(a BIGINT, b VARCHAR)", "STRUCT(b VARCHAR, a INTEGER)"), ("BIGINT[]", "INTEGER[]")]
)
def test_what_is_accepted_inserts(column, value):
    """Catches a pair the rule takes for lossless and the engine does not know, and fields of a struct matched by place."""
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t (x {column})")
    connection.execute(f"INSERT INTO t (x) SELECT CAST(x AS {value}) FROM (SELECT NULL::{value} x)")
    if "STRUCT" in column:
        connection.execute("INSERT INTO t SELECT {'b': 'text', 'a': 7::INTEGER}")
        assert connection.execute("SELECT x.a, x.b FROM t WHERE x IS NOT NULL").fetchall() == [(7, "text")]
