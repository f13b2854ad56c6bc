"""The SQL of a write: a staging table that rows are copied into, and the INSERT that takes them from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from penstock.sinks.postgres import column_types, encode
from penstock.sinks.postgres import table as postgres_table

_INTEGERS = {"bigint": "int8", "integer": "int4"}

STAGING_NAME = "_penstock_staging"
STAGING = f"pg_temp.{STAGING_NAME}"
"""Of one connection there is one at a time."""
INDEX = f"CREATE INDEX ON {STAGING} ({encode.ROW})"
"""For a search among its rows, which takes them part by part."""
SEARCH = "SELECT * FROM pg_temp._penstock_search($1::integer, $2::double precision, $3::text[])"
"""The function that a plan's `search` makes: for how many rows, in how many seconds, and what codes a row's fault has."""

# Its names must not be those of columns.
_SEARCH = """
CREATE OR REPLACE FUNCTION pg_temp._penstock_search(
    _penstock_rows integer, _penstock_seconds double precision, _penstock_data text[]
) RETURNS TABLE (
    _penstock_at integer, _penstock_code text, _penstock_said text, _penstock_detail text
) LANGUAGE plpgsql AS $_penstock$
DECLARE
    _penstock_first integer := 0;
    _penstock_width integer := 1024;
    _penstock_ends timestamptz := clock_timestamp() + make_interval(secs => _penstock_seconds);
BEGIN
    WHILE _penstock_first < _penstock_rows AND clock_timestamp() < _penstock_ends LOOP
        BEGIN
            {insert};
            SET CONSTRAINTS ALL IMMEDIATE;
            _penstock_first := _penstock_first + _penstock_width;
            _penstock_width := least(_penstock_width * 2, 65536);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS _penstock_code = RETURNED_SQLSTATE, _penstock_said = MESSAGE_TEXT,
                _penstock_detail = PG_EXCEPTION_DETAIL;
            IF NOT _penstock_code LIKE ANY (_penstock_data) THEN
                RAISE;
            END IF;
            IF _penstock_width = 1 THEN
                _penstock_at := _penstock_first;
                RETURN NEXT;
                _penstock_first := _penstock_first + 1;
            ELSE
                _penstock_width := greatest(_penstock_width / 4, 1);
            END IF;
        END;
    END LOOP;
END $_penstock$
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How rows of one schema get into one table. `columns` and `ways` are those of the staging table, without its index."""

    target: postgres_table.Target
    columns: Sequence[str]
    ways: Sequence[column_types.Way]
    insert: str
    """From the staging table `STAGING`."""
    search: str
    """Makes a function of this connection's own that tells the rows which the table refuses."""

    @property
    def layout(self) -> tuple[str, ...]:
        """What a staging table must have for these rows."""
        named = zip(self.columns, self.ways, strict=True)
        return tuple(f"{postgres_table.quoted(name)} {way.staging}" for name, way in named)


def staging(layout: Sequence[str]) -> str:
    """What rows are copied into; its columns have the names of the table's, which refusals by COPY tell."""
    columns = ", ".join((*layout, f"{encode.ROW} integer"))
    return f"DROP TABLE IF EXISTS {STAGING}; CREATE TEMPORARY TABLE {STAGING_NAME} ({columns}) ON COMMIT DELETE ROWS"


def plan(target: postgres_table.Target, upsert: postgres_table.Upsert | None) -> Plan:
    """The plan for a table; upserts without a version column carry the address of each row too."""
    columns, ways = [*target.columns], [*target.ways]
    if upsert is not None and upsert.version is None:
        for name, type_ in postgres_table.VERSION_COLUMNS.items():
            columns.append(name)
            ways.append(column_types.Way(form=column_types.Form.NUMBER, staging=type_, target=_INTEGERS[type_]))
    stretch = f"{encode.ROW} >= _penstock_first AND {encode.ROW} < _penstock_first + _penstock_width"
    return Plan(
        target=target,
        columns=columns,
        ways=ways,
        insert=_insert(target.name, columns, ways, upsert, "true"),
        search=_SEARCH.format(insert=_insert(target.name, columns, ways, upsert, stretch)),
    )


def _insert(
    table: str,
    columns: Sequence[str],
    ways: Sequence[column_types.Way],
    upsert: postgres_table.Upsert | None,
    where: str,
) -> str:
    names = ", ".join(map(postgres_table.quoted, columns))
    values = [_value(name, way) for name, way in zip(columns, ways, strict=True)]
    if upsert is None:
        return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {STAGING} WHERE {where}"  # noqa: S608 - quoted
    named = ", ".join(f"{value} AS {postgres_table.quoted(name)}" for value, name in zip(values, columns, strict=True))
    key = ", ".join(map(postgres_table.quoted, upsert.key))
    # Sorted by key: two statements that meet take their rows in the same order, so neither waits for the other.
    return (
        f"INSERT INTO {table} AS held ({names}) SELECT DISTINCT ON ({key}) {names}"  # noqa: S608 - quoted
        f" FROM (SELECT {named}, {encode.ROW} FROM {STAGING} WHERE {where}) AS incoming ORDER BY {key}, {_best(upsert)}"
        f" ON CONFLICT ({key}) DO {_replacement(columns, upsert)}"
    )


def _value(name: str, way: column_types.Way) -> str:
    column = postgres_table.quoted(name)
    return f"{column}::{way.cast}" if way.cast else column


def _best(upsert: postgres_table.Upsert) -> str:
    """Which of the rows with one key wins: as if they had come one after the other."""
    if upsert.version is not None:
        return f"{postgres_table.quoted(upsert.version)} DESC NULLS LAST, {encode.ROW}"
    return ", ".join(f"{name} DESC" for name in (*postgres_table.VERSION_COLUMNS, encode.ROW))


def _replacement(columns: Sequence[str], upsert: postgres_table.Upsert) -> str:
    settable = [postgres_table.quoted(name) for name in columns if name not in upsert.key]
    if not settable:
        return "NOTHING"
    assignments = ", ".join(f"{name} = EXCLUDED.{name}" for name in settable)
    return f"UPDATE SET {assignments} WHERE {_wins(upsert)}"


def _wins(upsert: postgres_table.Upsert) -> str:
    if upsert.version is not None:
        version = postgres_table.quoted(upsert.version)
        return f"held.{version} < EXCLUDED.{version} OR (held.{version} IS NULL AND EXCLUDED.{version} IS NOT NULL)"
    held = ", ".join(f"held.{name}" for name in postgres_table.VERSION_COLUMNS)
    new = ", ".join(f"EXCLUDED.{name}" for name in postgres_table.VERSION_COLUMNS)
    # Rows that were there before Penstock came have no address; any of ours is later.
    return f"held._penstock_generation IS NULL OR ({held}) < ({new})"
