"""SQL of a person over what has landed: reading, within bounds.

Four fences, because each alone has a hole: the statement must be a SELECT (or EXPLAIN); it runs in a read-only transaction
(a WITH clause may hold an INSERT); the database reaches no other file; its configuration is locked.
"""

from __future__ import annotations

import contextlib
import warnings

import duckdb
import pyarrow as pa

from penstock.sinks import port, tables

LIMIT_SECONDS = 60.0
LIMIT_BYTES = 256 * 1024 * 1024

_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The rows; closes the connection. Raises SinkError (config) with DuckDB's own words for SQL that does not run."""
    with contextlib.closing(connection):
        try:
            statement = _only_statement(connection, sql)
            connection.execute("BEGIN TRANSACTION READ ONLY")
            # Not connection.sql(), which leaves the position out of its errors.
            connection.execute(statement.query)
            return _collect(connection)
        except duckdb.InterruptException as error:
            raise _refused("QUERY_TOO_SLOW", f"stopped after {LIMIT_SECONDS:.0f} s", "ask for less") from error
        except duckdb.Error as error:
            raise _refused("INVALID_QUERY", str(error), "") from error


def _only_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise _refused("INVALID_QUERY", f"{len(statements)} statements", "ask one question at a time")
    if statements[0].type not in _ALLOWED:
        kind = statements[0].type.name
        raise _refused("NOT_READ_ONLY", f"{kind} is not a query", "only SELECT and EXPLAIN run here")
    return statements[0]


def _collect(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    with warnings.catch_warnings():
        # It warns of a copy that would cost a large result; this one is bounded.
        warnings.simplefilter("ignore", UserWarning)
        reader: pa.RecordBatchReader = connection.to_arrow_reader()
    batches, size = [], 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > LIMIT_BYTES:
            raise _refused("RESULT_TOO_LARGE", f"more than {LIMIT_BYTES // 1024**2} MiB of rows", "add a LIMIT, or aggregate")
    return pa.Table.from_batches(batches, reader.schema)


def _refused(code: str, message: str, remedy: str) -> port.SinkError:
    return tables.misconfigured(code, message, remedy)
