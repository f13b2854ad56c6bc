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
_GROW = """UPDATE _penstock_landed SET end_offset = ?, end_ordinal = ?, end_item = ?
    WHERE lane = ? AND table_name = ? AND log_id = ? AND partition = ?
    AND start_offset = ? AND start_ordinal = ? AND start_item = ?"""
_DELETE = """DELETE FROM _penstock_landed WHERE lane = ? AND table_name = ? AND log_id = ? AND partition = ?
    AND start_offset = ? AND start_ordinal = ? AND start_item = ?"""
_INSERT = "INSERT INTO _penstock_landed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


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


def replace(
    connection: duckdb.DuckDBPyConnection,
    lane: str,
    table: str,
    known: Sequence[addresses.Range],
    ranges: Sequence[addresses.Range],
) -> None:
    """Turn `known`, what the journal says of this table of this lane, into `ranges`; within the caller's transaction."""
    gone, new = sorted(set(known) - set(ranges)), sorted(set(ranges) - set(known))
    if [_beginning(item) for item in gone] == [_beginning(item) for item in new]:
        # Stretches that only grow, which is every write in order: one statement costs half of taking out and putting in.
        for item in new:
            connection.execute(_GROW, [*dataclasses.astuple(item.end), lane, table, *_beginning(item)])
        return
    for item in gone:
        connection.execute(_DELETE, [lane, table, *_beginning(item)])
    for item in new:
        connection.execute(_INSERT, [lane, table, *_beginning(item), *dataclasses.astuple(item.end)])


def _beginning(stretch: addresses.Range) -> tuple[str, int, int, int, int]:
    """What tells the journal's rows of one table apart: merged stretches never begin at the same place."""
    start = stretch.start
    return stretch.log_id, stretch.partition, start.offset, start.ordinal, start.item
