"""A DuckDB table as a target: its name made safe, its columns compared with what comes, created where the policy says so.

Every fault found is named at once, with the column, what the table has, what the pipeline sends, and the way out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from penstock.sinks import tables
from penstock.sinks.duckdb import column_types as duckdb_types

INCOMING = tables.RESERVED_PREFIX + "incoming"
"""The name under which a write's rows are visible to SQL, on the writing connection only."""

_NAME = re.compile(r'[^\x00-\x1f\x7f".]{1,128}')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table. `required`: NOT NULL without a default, so it must come with every row."""

    name: str
    type: duckdb_types.Type
    nullable: bool
    required: bool


Columns = Mapping[str, Column]
"""By lower-case name: to SQL, names that differ in case only are one."""


def quoted(table: str) -> str:
    """`clicks` or `web.clicks` as SQL identifiers. Raises SinkError for a name that is none, or is Penstock's own."""
    parts = table.split(".")
    if len(parts) > 2 or not all(map(_NAME.fullmatch, parts)):
        raise tables.misconfigured(
            "TABLE_NAME",
            f'"{table[:200]}" is not a table name',
            "name a table, or a schema and a table with a dot between, without quotes; 128 characters each at most",
        )
    if parts[-1].lower().startswith(tables.RESERVED_PREFIX):
        raise tables.misconfigured(
            "TABLE_NAME", f'"{table}" is a name Penstock keeps for itself', f'choose one without "{tables.RESERVED_PREFIX}"'
        )
    return ".".join(f'"{part}"' for part in parts)


def quoted_column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def prepare(connection: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema, policy: tables.TablePolicy) -> Columns:
    """The table's columns by lower-case name, after creating or widening it as the policy allows. Raises SinkError."""
    name, incoming = quoted(table), incoming_types(connection, schema)
    if policy is not tables.TablePolicy.VERIFY:
        body = ", ".join(f"{quoted_column(column)} {type_}" for column, type_ in incoming.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({body})")
    if policy is tables.TablePolicy.ADD_COLUMNS:
        for column, type_ in incoming.items():
            connection.execute(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {quoted_column(column)} {type_}")
    return verified(connection, table, incoming)


def verified(connection: duckdb.DuckDBPyConnection, table: str, incoming: Mapping[str, duckdb_types.Type]) -> Columns:
    """The table's columns by lower-case name when it can take what comes. Raises SinkError that names every fault."""
    columns = _columns(connection, table)
    if not columns:
        raise tables.misconfigured(
            "NO_TABLE", f"there is no table {table}", "create it, or set tablePolicy: CreateIfMissing on the sink"
        )
    faults = _faults(columns, incoming)
    if faults:
        raise tables.misconfigured(
            "TABLE_MISMATCH",
            f"table {table}: " + "; ".join(fault for fault, _ in faults),
            "; ".join(dict.fromkeys(remedy for _, remedy in faults)),
        )
    return columns


def incoming_types(connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> Mapping[str, duckdb_types.Type]:
    """The DuckDB type of each Arrow column. Raises SinkError where there is none, or two names are one to SQL."""
    try:
        described = connection.from_arrow(schema.empty_table()).types
    except duckdb.Error as error:
        raise tables.misconfigured("COLUMN_TYPE", str(error), "cast the column in select to a type DuckDB has") from error
    types = dict(zip(schema.names, described, strict=True))
    _refuse_unusable(schema)
    return types


def _refuse_unusable(schema: pa.Schema) -> None:
    folded = [name.lower() for name in schema.names]
    twice = sorted({name for name in folded if folded.count(name) > 1})
    if twice or not folded:
        what = f"columns that differ in case only: {', '.join(twice)}" if twice else "no columns"
        raise tables.misconfigured("COLUMN_NAME", f"the pipeline sends {what}", "name the columns in select apart")
    untyped = [field.name for field in schema if _untyped(field.type)]
    if untyped:
        raise tables.misconfigured(
            "COLUMN_TYPE", f"always NULL, so without a type: {', '.join(untyped)}", "give it one: CAST(NULL AS VARCHAR)"
        )


def _untyped(type_: pa.DataType) -> bool:
    return pa.types.is_null(type_) or any(_untyped(type_.field(index).type) for index in range(type_.num_fields))


def _faults(columns: Columns, incoming: Mapping[str, duckdb_types.Type]) -> Sequence[tuple[str, str]]:
    """(fault, remedy) of everything that keeps the rows out."""
    sent = {name.lower() for name in incoming}
    fed = [_fault_of(name, type_, columns) for name, type_ in incoming.items()]
    unfed = [_missing(column) for key, column in columns.items() if column.required and key not in sent]
    return [*filter(None, fed), *unfed]


def _fault_of(name: str, type_: duckdb_types.Type, columns: Columns) -> tuple[str, str] | None:
    column = columns.get(name.lower())
    if column is None:
        has = ", ".join(known.name for known in columns.values())
        remedy = f'add it with type {type_}, drop "{name}" from select, or set tablePolicy: AddColumns'
        return f'no column "{name}" (it has {has})', remedy
    if duckdb_types.accepts(column.type, type_):
        return None
    remedy = f"select CAST({quoted_column(name)} AS {column.type}), or alter the column"
    return f'column "{name}" is {column.type}, the pipeline sends {type_}', remedy


def _missing(column: Column) -> tuple[str, str]:
    fault = f'column "{column.name}" is NOT NULL without a default and the pipeline does not send it'
    return fault, f'select a value for "{column.name}", or give it a default'


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> Columns:
    """Empty where there is no such table."""
    schema, _, name = table.rpartition(".")
    found = connection.execute(
        "SELECT column_name, is_nullable, column_default FROM duckdb_columns() WHERE database_name = current_database()"
        " AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) ORDER BY column_index",
        [schema or "main", name],
    ).fetchall()
    if not found:
        return {}
    described = connection.execute(f"SELECT * FROM {quoted(table)} LIMIT 0").description or []  # noqa: S608 - quoted
    types = {description[0].lower(): description[1] for description in described}
    return {
        column.lower(): Column(
            name=column, type=types[column.lower()], nullable=nullable, required=not nullable and default is None
        )
        for column, nullable, default in found
    }
