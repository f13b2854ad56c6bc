"""One table as the server describes it: columns compared with what comes, and what it remembers of inserts.

What `describe` may change is the policy's to say. Every fault is named at once, with the column, what the table has, what
the pipeline sends, and the way out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from penstock.core import delivery
from penstock.sinks import tables
from penstock.sinks.clickhouse import client as http_client
from penstock.sinks.clickhouse import column_types

NEEDED_WINDOW = 1_000
"""Inserts a table must remember. A lane has at most `core.plans.MOST_AHEAD` (64) batches between a write in doubt and the
newest one, and each may be in several parts and tables, and other lanes may write there too."""

_SUGGESTED_WINDOW = 10_000
_SECONDS = 20.0
_WINDOWS = ("non_replicated_deduplication_window", "replicated_deduplication_window", "replicated_deduplication_window_seconds")
_NEEDED_SECONDS = 600
_WRITABLE = frozenset({"", "DEFAULT", "EPHEMERAL"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`required`: neither a default nor a NULL stands in where no value comes; which the server would fill with 0 or ''."""

    name: str
    type: column_types.Type
    shown: str
    writable: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that was found; `windows` are the settings in force for it."""

    database: str
    name: str
    engine: str
    columns: Mapping[str, Column]
    windows: Mapping[str, int]

    @property
    def types(self) -> Mapping[str, column_types.Type]:
        return {name: column.type for name, column in self.columns.items()}

    @property
    def sql(self) -> str:
        return qualified(self.database, self.name)

    def identity(self) -> tuple[delivery.Identity, str]:
        """What keeps a retried insert from landing twice here, and why; where nothing does, the remedy."""
        if "MergeTree" not in self.engine:
            return (
                delivery.Identity.NONE,
                f"engine {self.engine} remembers no inserts: use a MergeTree, or read away what comes twice",
            )
        shared = self.engine.startswith(("Replicated", "Shared"))
        setting = _WINDOWS[1] if shared else _WINDOWS[0]
        window, seconds = self.windows.get(setting, 0), self.windows.get(_WINDOWS[2], 0)
        if window < NEEDED_WINDOW:
            return delivery.Identity.NONE, (
                f"the table remembers {window:,} inserts and {NEEDED_WINDOW:,} are needed:"
                f" ALTER TABLE {self.sql} MODIFY SETTING {setting} = {_SUGGESTED_WINDOW}"
            )
        if shared and seconds < _NEEDED_SECONDS:
            return delivery.Identity.NONE, (
                f"the table remembers inserts for {seconds:,} s and {_NEEDED_SECONDS:,} are needed:"
                f" ALTER TABLE {self.sql} MODIFY SETTING {_WINDOWS[2]} = 604800"
            )
        for_so_long = f", for {seconds:,} s" if shared else ""
        return delivery.Identity.TOKEN, f"InsertToken: {setting} = {window:,}{for_so_long}"


def qualified(database: str, table: str) -> str:
    """`table`, or `database.table` where the name has a dot, as SQL identifiers. Raises SinkError."""
    own, _, name = table.rpartition(".")
    if "." in own or not name or name.startswith(tables.RESERVED_PREFIX):
        raise tables.misconfigured("TABLE_NAME", f'"{table[:200]}" is not a table name', "name a table, or database.table")
    return f"{column_types.quoted(own or database)}.{column_types.quoted(name)}"


async def prepared(client: http_client.Client, database: str, table: str, schema: pa.Schema, policy: tables.TablePolicy) -> Table:
    """The table, made or widened as the policy allows. Raises SinkError."""
    where, wanted = qualified(database, table), _wanted(schema)
    if policy is not tables.TablePolicy.VERIFY:
        body = ", ".join(f"{column_types.quoted(name)} {type_}" for name, type_ in wanted.items())
        await client.command(
            f"CREATE TABLE IF NOT EXISTS {where} ({body}) ENGINE = MergeTree ORDER BY tuple()"
            f" SETTINGS non_replicated_deduplication_window = {_SUGGESTED_WINDOW}",
            seconds=_SECONDS,
        )
    if policy is tables.TablePolicy.ADD_COLUMNS:
        known = (await found(client, database, table)).columns
        for name, type_ in wanted.items():
            if name not in known:
                sql = f"ALTER TABLE {where} ADD COLUMN IF NOT EXISTS {column_types.quoted(name)} {type_}"
                await client.command(sql, seconds=_SECONDS)
    return await verified(client, database, table, schema)


async def verified(client: http_client.Client, database: str, table: str, schema: pa.Schema) -> Table:
    """The table when it can take what comes. Raises SinkError that names every fault."""
    has = await found(client, database, table)
    faults = [fault for field in schema if (fault := _fault(field, has))]
    if faults:
        raise tables.misconfigured(
            "TABLE_MISMATCH",
            f"table {has.sql}: " + "; ".join(fault for fault, _ in faults),
            "; ".join(dict.fromkeys(remedy for _, remedy in faults)),
        )
    return has


async def found(client: http_client.Client, database: str, table: str) -> Table:
    """Raises SinkError (config) where there is no such table, or none that this user may see."""
    qualified(database, table)
    own, _, name = table.rpartition(".")
    where = f"database = {_text(own or database)} AND table = {_text(name)}"
    engines = await client.rows(
        f"SELECT engine, engine_full FROM system.tables WHERE {where.replace('table =', 'name =')}",  # noqa: S608 - quoted
        seconds=_SECONDS,
    )
    if not engines:
        raise tables.misconfigured(
            "NO_TABLE",
            f"there is no table {qualified(database, table)}, or the user may not see it",
            "create it and grant INSERT and SELECT on it, or set tablePolicy: CreateIfMissing on the sink",
        )
    columns = await client.rows(
        f"SELECT name, type, default_kind FROM system.columns WHERE {where} ORDER BY position",  # noqa: S608 - quoted
        seconds=_SECONDS,
    )
    return Table(
        database=own or database,
        name=name,
        engine=engines[0]["engine"],
        columns={column["name"]: _column(column) for column in columns},
        windows=await _windows(client, engines[0]["engine_full"]),
    )


async def _windows(client: http_client.Client, engine_full: str) -> Mapping[str, int]:
    """The server's values, under those that the table was given itself."""
    names = ", ".join(map(_text, _WINDOWS))
    usual = await client.rows(
        f"SELECT name, value FROM system.merge_tree_settings WHERE name IN ({names})",  # noqa: S608 - constants
        seconds=_SECONDS,
    )
    windows = {row["name"]: int(row["value"]) for row in usual if str(row["value"]).isdigit()}
    settings = engine_full.rpartition(" SETTINGS ")[2]
    for name in _WINDOWS:
        if own := re.search(rf"(?<![a-z_]){name} = '?(\d+)", settings):
            windows[name] = int(own[1])
    return windows


def _column(row: Mapping[str, str]) -> Column:
    return Column(
        name=row["name"],
        type=column_types.parse(row["type"]),
        shown=row["type"],
        writable=row["default_kind"] in _WRITABLE,
    )


def _wanted(schema: pa.Schema) -> Mapping[str, str]:
    types = {field.name: column_types.created(field.type) for field in schema}
    without = [f'"{name}" ({schema.field(name).type})' for name, type_ in types.items() if type_ is None]
    if without:
        raise tables.misconfigured(
            "COLUMN_TYPE",
            f"ClickHouse has no type for {', '.join(without)}",
            "cast it in select, to VARCHAR if nothing else fits",
        )
    return {name: type_ for name, type_ in types.items() if type_ is not None}


def _fault(field: pa.Field, table: Table) -> tuple[str, str] | None:
    column = table.columns.get(field.name)
    if column is None:
        has = ", ".join(_shown(table.columns))
        type_ = column_types.created(field.type) or "String"
        remedy = f'add it with type {type_}, drop "{field.name}" from select, or set tablePolicy: AddColumns'
        return f'no column "{field.name}" (it has {has})', remedy
    if not column.writable:
        return f'column "{field.name}" is computed by the table', f'drop "{field.name}" from select'
    if column_types.accepts(column.type, field.type):
        return None
    remedy = f'cast "{field.name}" in select to what {column.shown} holds without loss, or alter the column'
    return f'column "{field.name}" is {column.shown}, the pipeline sends {field.type}', remedy


def _shown(columns: Mapping[str, Column]) -> Sequence[str]:
    names = list(columns)
    return names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"]


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
