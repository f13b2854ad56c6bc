"""The pieces in which a batch is written: by table, and in halves where the store refuses rows without naming them.

All of it follows from the rows and their addresses, so that a retry, here or in another process, makes the same pieces.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from penstock.batcher.writing import planning
from penstock.core import addresses
from penstock.core.batching import builder, chunks
from penstock.core.transform import spec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The rows of a batch that go to one table; each part is a chunk's share, in address order per partition."""

    table: str
    parts: Sequence[chunks.Chunk]

    @property
    def rows(self) -> int:
        return sum(part.rows.num_rows for part in self.parts)


def of(batch: builder.Batch, table: str) -> list[Piece]:
    """The batch by table, derived from the rows alone so that a retry makes the same ones."""
    if spec.TABLE_COLUMN not in batch.chunks[0].rows.column_names:
        return [Piece(table=table, parts=batch.chunks)]
    found: set[str] = set()
    for chunk in batch.chunks:
        found.update(str(name) for name in pc.unique(chunk.rows.column(spec.TABLE_COLUMN)).to_pylist())
    return [Piece(table=name, parts=[_of_table(chunk, name) for chunk in batch.chunks]) for name in sorted(found)]


def _of_table(chunk: chunks.Chunk, table: str) -> chunks.Chunk:
    mine = pc.equal(chunk.rows.column(spec.TABLE_COLUMN), pa.scalar(table))
    return chunk.where(mine.to_numpy())


def token(lane: str, table: str, ranges: Sequence[addresses.Range], rows: int, appended: int) -> str:
    """The identity of these rows for stores that remember tokens: another cut, or a rest after refusals, has another one.

    `appended`: when the last block was; a log that was put back from a copy has other blocks at the same offsets.
    """
    told = hashlib.sha256(f"{lane}\n{table}\n{rows}\n{appended}".encode())
    for stretch in ranges:
        told.update(f"\n{stretch.log_id}/{stretch.partition}/{stretch.start}/{stretch.end}".encode())
    return told.hexdigest()


def halves(piece: Piece) -> Iterator[Piece]:
    """Two pieces with half of the rows each, in order."""
    left, right, room = [], [], piece.rows // 2
    for part in piece.parts:
        rows = part.rows.num_rows
        if rows <= room:
            left.append(part)
        elif room:
            head, tail = part.split(room)
            left.append(head)
            right.append(tail)
        else:
            right.append(part)
        room -= min(room, rows)
    yield Piece(table=piece.table, parts=left)
    yield Piece(table=piece.table, parts=right)


async def cut(parts_apart: Sequence[Piece], stretch: addresses.Range, ticket: planning.Ticket) -> list[list[addresses.Range]]:
    """The ranges of the two halves, once it is durable that they go apart; by address alone, as a retry has other chunks."""
    first = next(part for part in parts_apart[1].parts if part.rows.num_rows)
    place = first.places([0])[0]
    await ticket.cut(parts_apart[0].table, place)
    return [[dataclasses.replace(stretch, end=place)], [dataclasses.replace(stretch, start=place)]]
