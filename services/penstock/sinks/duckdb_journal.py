"""The table in which a DuckDB database remembers what has landed, changed in the rows' own transaction.

One row per stretch; neighbours are merged, so a lane without gaps has one row per partition and table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import duckdb

from penstock.core import addresses
from penstock.sinks import landed

_CREATE = """CREATE TABLE IF NOT EXISTS _penstock_landed (
    lane VARCHAR NOT NULL, table_name VARCHAR NOT NULL, log_id VARCHAR NOT NULL, partition INTEGER NOT NULL,
    start_offset BIGINT NOT NULL, start_ordinal INTEGER NOT NULL, start_item INTEGER NOT NULL,
    end_offset BIGINT NOT NULL, end_ordinal INTEGER NOT NULL, end_item INTEGER NOT NULL)"""
_SELECT = """SELECT lane, table_name, log_id, partition, start_offset, start_ordinal, start_item, end_offset, end_ordinal,
    end_item FROM _penstock_landed"""


def load(connection: duckdb.DuckDBPyConnection) -> landed.Landed:
    """What has landed in this database; the journal is created where it is missing."""
    connection.execute(_CREATE)
    ranges: dict[tuple[str, str], list[addresses.Range]] = {}
    rows = connection.execute(_SELECT).fetchall()
    for lane, table, log_id, partition, *places in rows:
        start, end = addresses.Position(*places[:3]), addresses.Position(*places[3:])
        ranges.setdefault((lane, table), []).append(addresses.Range(log_id, partition, start, end))
    known = landed.Landed()
    for (lane, table), found in ranges.items():
        known.replace(lane, table, addresses.merge(found))
    return known


def replace(connection: duckdb.DuckDBPyConnection, lane: str, table: str, ranges: Sequence[addresses.Range]) -> None:
    """Write down that exactly `ranges` have landed in this table of this lane; within the caller's transaction."""
    connection.execute("DELETE FROM _penstock_landed WHERE lane = ? AND table_name = ?", [lane, table])
    rows = [
        [lane, table, item.log_id, item.partition, *dataclasses.astuple(item.start), *dataclasses.astuple(item.end)]
        for item in ranges
    ]
    connection.executemany("INSERT INTO _penstock_landed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
