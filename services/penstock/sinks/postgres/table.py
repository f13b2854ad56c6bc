"""A table of the server as a target: its columns read from the catalogue, compared with what comes, changed as the policy says.

Every fault found is named at once, with the column, what the table has, what the pipeline sends, and the way out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asyncpg
import pyarrow as pa

from penstock.sinks import tables
from penstock.sinks.postgres import column_types

VERSION_COLUMNS: Mapping[str, str] = {
    "_penstock_generation": "bigint",
    "_penstock_offset": "bigint",
    "_penstock_ordinal": "integer",
    "_penstock_item": "integer",
}
"""Where an upsert without a version column keeps the address of the row that won."""

_NAME_BYTES = 63
_NAME = re.compile(r'[^\x00-\x1f\x7f".]{1,63}')
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "f": "foreign table"}

_RELATION = "SELECT c.oid, c.relkind::text AS kind FROM pg_class c WHERE c.oid = to_regclass($1)"
_COLUMNS = """
SELECT a.attname AS name, a.attnotnull AS not_null, a.atthasdef AS has_default, a.attidentity::text AS identity,
    a.attgenerated::text AS generated, b.typname AS type, e.typname AS element, b.typtype::text AS kind,
    format_type(b.oid, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END) AS full_type,
    format_type(b.oid, -1) AS bare_type,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier,
    (t.typtype = 'd' AND t.typnotnull) AS domain_not_null
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_UNIQUE = """
SELECT array_agg(a.attname::text ORDER BY a.attname) AS columns FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey[0:i.indnkeyatts - 1])
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table. `required`: NOT NULL and nothing fills it, so it must come with every row."""

    name: str
    type: column_types.Type
    not_null: bool
    required: bool
    writable: str
    """Why it can't be written; empty where it can."""


Columns = Mapping[str, Column]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """How a row finds the one it replaces. `version` None: the later address wins."""

    key: Sequence[str]
    version: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A table that takes rows of one schema, and how each of their columns gets there. `not_null`: of these columns."""

    name: str
    columns: Sequence[str]
    ways: Sequence[column_types.Way]
    not_null: Sequence[str]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quoted_table(table: str) -> str:
    """`clicks` or `web.clicks` as SQL identifiers. Raises SinkError for a name that is none, or is Penstock's own."""
    parts = table.split(".")
    if len(parts) > 2 or not all(map(_NAME.fullmatch, parts)) or any(len(part.encode()) > _NAME_BYTES for part in parts):
        raise tables.misconfigured(
            "TABLE_NAME",
            f'"{table[:200]}" is not a table name',
            f"name a table, or a schema and a table with a dot between, without quotes; {_NAME_BYTES} bytes each at most",
        )
    if parts[-1].startswith(tables.RESERVED_PREFIX):
        raise tables.misconfigured(
            "TABLE_NAME", f'"{table}" is a name Penstock keeps for itself', f'choose one without "{tables.RESERVED_PREFIX}"'
        )
    return ".".join(map(quoted, parts))


async def prepare(
    connection: asyncpg.Connection,
    table: str,
    incoming: pa.Schema,
    policy: tables.TablePolicy,
    upsert: Upsert | None,
) -> Target:
    """The table as a target, after creating or widening it as the policy allows. Raises SinkError that names every fault."""
    name = quoted_table(table)
    _refuse_unusable(incoming)
    if policy is not tables.TablePolicy.VERIFY:
        await connection.execute(_creation(name, _all_wanted(incoming, upsert), upsert))
    if policy is tables.TablePolicy.ADD_COLUMNS:
        wanted = _all_wanted(incoming, upsert)
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {quoted(column)} {type_}" for column, type_ in wanted.items())
        await connection.execute(f"ALTER TABLE {name} {added}")
    return await verified(connection, table, incoming, upsert)


async def verified(connection: asyncpg.Connection, table: str, incoming: pa.Schema, upsert: Upsert | None) -> Target:
    """The table as it is, when it can take what comes. Raises SinkError that names every fault."""
    name = quoted_table(table)
    relation = await connection.fetchrow(_RELATION, name)
    if relation is None:
        remedy = f"create it, or set tablePolicy: CreateIfMissing: {_creation(name, _all_wanted(incoming, upsert), upsert)}"
        raise tables.misconfigured("NO_TABLE", f"there is no table {table}", remedy)
    if relation["kind"] not in _KINDS:
        raise tables.misconfigured("NO_TABLE", f"{table} is no table that can be written", "name a table")
    columns = {row["name"]: _column(row) for row in await connection.fetch(_COLUMNS, relation["oid"])}
    faults = list(_faults(columns, incoming))
    if upsert is not None:
        unique = [row["columns"] for row in await connection.fetch(_UNIQUE, relation["oid"])]
        faults += _upsert_faults(name, columns, incoming, upsert, unique)
    if faults:
        raise tables.misconfigured(
            "TABLE_MISMATCH",
            f"table {table}: " + "; ".join(fault for fault, _ in faults),
            "; ".join(dict.fromkeys(remedy for _, remedy in faults)),
        )
    ways = [column_types.way(field, columns[field.name].type) for field in incoming]
    return Target(
        name=name,
        columns=incoming.names,
        ways=[way for way in ways if way is not None],
        not_null=[column for column in incoming.names if columns[column].not_null],
    )


def _column(row: asyncpg.Record) -> Column:
    filled = row["has_default"] or row["identity"] != ""
    not_null = row["not_null"] or row["domain_not_null"]
    return Column(
        name=row["name"],
        type=_type(row),
        not_null=not_null,
        required=not_null and not filled,
        writable=_unwritable(row),
    )


def _type(row: asyncpg.Record) -> column_types.Type:
    scale = None
    if row["type"] == "numeric" and row["modifier"] >= 0:
        # An 11-bit two's complement: since version 15 a scale may be negative.
        scale = (((row["modifier"] - 4) & 0x7FF) ^ 1024) - 1024
    return column_types.Type(
        name=row["type"],
        full=row["full_type"],
        bare=row["bare_type"],
        element=row["element"] or "",
        scale=scale,
        composite=row["kind"] == "c",
    )


def _unwritable(row: asyncpg.Record) -> str:
    if row["generated"]:
        return "is generated by the table"
    return "is GENERATED ALWAYS AS IDENTITY" if row["identity"] == "a" else ""


def _refuse_unusable(incoming: pa.Schema) -> None:
    if not incoming.names:
        raise tables.misconfigured("COLUMN_NAME", "the pipeline sends no columns", "select at least one")
    long = [name for name in incoming.names if len(name.encode()) > _NAME_BYTES or "\0" in name]
    if long:
        raise tables.misconfigured(
            "COLUMN_NAME", f"too long for a column: {', '.join(long)}", f"name it in select with at most {_NAME_BYTES} bytes"
        )
    kept = [name for name in incoming.names if name.startswith(tables.RESERVED_PREFIX)]
    if kept:
        raise tables.misconfigured("COLUMN_NAME", f"Penstock keeps for itself: {', '.join(kept)}", "name it otherwise in select")


def _wanted(incoming: pa.Schema) -> Iterator[tuple[str, str]]:
    """(name, type) of a table's columns for what comes."""
    for field in incoming:
        try:
            yield field.name, column_types.default(field)
        except ValueError as error:
            raise tables.misconfigured(
                "COLUMN_TYPE", f'column "{field.name}": {error}', f'cast it in select: CAST("{field.name}" AS VARCHAR)'
            ) from error


def _all_wanted(incoming: pa.Schema, upsert: Upsert | None) -> Mapping[str, str]:
    return {**dict(_wanted(incoming)), **(VERSION_COLUMNS if upsert and upsert.version is None else {})}


def _creation(name: str, wanted: Mapping[str, str], upsert: Upsert | None) -> str:
    body = [f"{quoted(column)} {type_}" for column, type_ in wanted.items()]
    if upsert is not None:
        body.append(f"PRIMARY KEY ({', '.join(map(quoted, upsert.key))})")
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(body)})"


def _faults(columns: Columns, incoming: pa.Schema) -> Iterator[tuple[str, str]]:
    """(fault, remedy) of everything that keeps the rows out."""
    for field in incoming:
        fault = _fault_of(field, columns)
        if fault is not None:
            yield fault
    for column in columns.values():
        if column.required and column.name not in incoming.names:
            fault_text = f'column "{column.name}" is NOT NULL without a default and the pipeline does not send it'
            yield fault_text, f'select a value for "{column.name}", or give it a default'


def _fault_of(field: pa.Field[Any], columns: Columns) -> tuple[str, str] | None:
    column = columns.get(field.name)
    if column is None:
        has = ", ".join(columns)
        alike = [name for name in columns if name.lower() == field.name.lower()]
        remedy = f'name it "{alike[0]}" in select' if alike else _adding(field)
        return f'no column "{field.name}" (it has {has})', remedy
    if column.writable:
        return f'column "{field.name}" {column.writable}', f'drop "{field.name}" from select'
    if column_types.way(field, column.type) is not None:
        return None
    remedy = f'select CAST("{field.name}" AS ...) to what fits, or alter the column'
    return f'column "{field.name}" is {column.type.full}, the pipeline sends {field.type}', remedy


def _adding(field: pa.Field[Any]) -> str:
    ((_, type_),) = _wanted(pa.schema([field]))
    return f'add it with type {type_}, drop "{field.name}" from select, or set tablePolicy: AddColumns'


def _upsert_faults(
    name: str, columns: Columns, incoming: pa.Schema, upsert: Upsert, unique: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str]]:
    named = [*upsert.key, *([upsert.version] if upsert.version else [])]
    for column in named:
        if column not in incoming.names:
            yield f'"{column}" is not among the columns the pipeline sends', f'add "{column}" to select'
    if sorted(upsert.key) not in [list(found) for found in unique]:
        key = ", ".join(map(quoted, upsert.key))
        yield f"nothing makes ({key}) unique", f"run: CREATE UNIQUE INDEX ON {name} ({key})"
    missing = [column for column in VERSION_COLUMNS if column not in columns] if upsert.version is None else []
    if missing:
        added = ", ".join(f"ADD COLUMN {column} {VERSION_COLUMNS[column]}" for column in missing)
        yield (
            "no columns for the address of the row that won",
            f"set postgres.versionColumn to one of yours, or run: ALTER TABLE {name} {added}",
        )
