"""One batch to the store: pieces by table, tried until each is durable, trimmed, or dead-lettered row by row.

The class of a failure decides (docs/delivery.md). An outage is retried for ever and never uses anything up; a
misconfiguration halts the lane and is looked at again now and then; a row the store refuses is dead-lettered and the rest
written again under the same ranges.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from penstock.batcher import accounts, letters, sink_client
from penstock.batcher import settings as lane_settings
from penstock.core import addresses, breaker, deadletters, delivery, results, retry
from penstock.core.batching import builder, chunks
from penstock.core.transform import spec
from penstock.telemetry import metrics

_log = structlog.get_logger()

_HIDDEN = (spec.EVENT_COLUMN, spec.ITEM_COLUMN, spec.TABLE_COLUMN)
_CONFIG_RETRY_SECONDS = 10.0
_CIRCUIT_LOOK_SECONDS = 0.25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The rows of a batch that go to one table; each part is a chunk's share, in address order per partition."""

    table: str
    parts: Sequence[chunks.Chunk]

    @property
    def rows(self) -> int:
        return sum(part.rows.num_rows for part in self.parts)


def pieces(batch: builder.Batch, table: str) -> list[Piece]:
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


class Lander:
    """Writes the batches of one lane. `land` runs once per slot, concurrently; it returns only when the batch is settled."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        client: sink_client.SinkClient,
        letter_writer: letters.LetterWriter,
        circuit: breaker.Breaker,
        lane_accounts: accounts.LaneAccounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._client, self._letters = settings, client, letter_writer
        self._circuit, self._accounts, self._clock = circuit, lane_accounts, clock
        self.failure: results.Failure | None = None
        """Why nothing can land until a person acts; None while batches land."""

    async def land(self, batch: builder.Batch) -> float:
        """Settle every row of the batch; the seconds of the last successful write (0.0 when none was needed)."""
        seconds = 0.0
        for piece in pieces(batch, self._settings.tables[0]):
            seconds = max(seconds, await self._land_piece(piece, batch.ranges))
        return seconds

    async def _land_piece(self, piece: Piece, ranges: Sequence[addresses.Range]) -> float:
        attempt, seconds = 0, 0.0
        while piece.rows:
            await self._permission()
            began = self._clock()
            generation = self._circuit.generation
            try:
                result = await self._write(piece, ranges)
            except delivery.WriteFailedError as error:
                attempt += 1
                await self._failed(error.failure, generation, attempt)
                continue
            attempt, seconds = 0, self._clock() - began
            self._circuit.record(self._clock(), generation, None)
            self.failure = None
            piece, ranges = await self._settle(piece, ranges, result)
        return seconds

    async def _permission(self) -> None:
        """Wait until the circuit lets a write through."""
        while not self._circuit.allow(self._clock()):  # noqa: ASYNC110 - the circuit is pure, nothing can notify
            await asyncio.sleep(min(_CIRCUIT_LOOK_SECONDS, max(0.01, self._circuit.retry_in_seconds(self._clock()))))

    async def _write(self, piece: Piece, ranges: Sequence[addresses.Range]) -> delivery.WriteResult:
        hidden = [name for name in _HIDDEN if name in piece.parts[0].rows.column_names]
        rows = pa.concat_tables([part.rows for part in piece.parts]).drop_columns(hidden)
        batch = delivery.SinkBatch(
            lane=self._settings.lane,
            table=piece.table,
            ranges=ranges,
            token=f"{ranges[0].log_id}:{ranges[0].partition}:{ranges[0].start}:{ranges[-1].end}",
            finished_below=self._accounts.finished_below(),
            key_columns=(),
            rows=rows,
        )
        return await self._client.write(batch, deadline_seconds=self._settings.limits.write_timeout_seconds)

    async def _failed(self, failure: results.Failure, generation: int, attempt: int) -> None:
        _log.warning(
            "write_failed",
            sink=self._settings.sink,
            result_class=failure.result_class.value,
            code=failure.code,
            message=failure.message,
            attempt=attempt,
        )
        metrics.RETRIES.labels(**self._settings.labels, result_class=failure.result_class.value).inc()
        # The circuit sorts the classes itself, and a trial without an outcome would hold the next one back.
        self._circuit.record(self._clock(), generation, failure.result_class)
        if failure.result_class is results.ResultClass.CONFIG:
            self.failure = failure
            await asyncio.sleep(_CONFIG_RETRY_SECONDS)
            return
        told = self._settings.retry
        await asyncio.sleep(
            retry.delay_seconds(
                attempt - 1,
                initial_seconds=told.initial_seconds,
                maximum_seconds=told.maximum_seconds,
                fraction=random.random(),  # noqa: S311 - spreads retries, guards nothing
                retry_after_seconds=failure.retry_after_seconds,
            )
        )

    async def _settle(
        self, piece: Piece, ranges: Sequence[addresses.Range], result: delivery.WriteResult
    ) -> tuple[Piece, Sequence[addresses.Range]]:
        """What is left of the piece after an answer, and the ranges it still stands for."""
        if result.already_landed:
            landed = addresses.merge(result.already_landed)
            return self._trim(piece, landed), addresses.subtract(ranges, landed)
        if result.rejected:
            return await self._dead_letter(piece, result.rejected), ranges
        for part in piece.parts:
            self._accounts.written(part.range.partition, part.rows_by_block())
        return Piece(table=piece.table, parts=()), ranges

    def _trim(self, piece: Piece, landed: list[addresses.Range]) -> Piece:
        """Take out rows that landed before; those with a letter of their own were never in the store."""
        left = []
        for part in piece.parts:
            inside = [common for stretch in landed if (common := stretch.intersect(part.range))]
            self._count_landed(part.inside(inside))
            left.append(part.outside(inside))
        return Piece(table=piece.table, parts=left)

    def _count_landed(self, part: chunks.Chunk) -> None:
        known = self._accounts.known_letters(part.range.partition)
        refused = part.at(known) if known else np.zeros(part.rows.num_rows, dtype=bool)
        self._accounts.written(part.range.partition, part.where(~refused).rows_by_block())
        self._accounts.refused(part.range.partition, part.where(refused).rows_by_block())

    async def _dead_letter(self, piece: Piece, rejected: Sequence[results.RejectedRow]) -> Piece:
        """Write letters for the refused rows and go on without them."""
        by_row = {refusal.row: refusal for refusal in rejected}
        left, first = [], 0
        for part in piece.parts:
            mine = {row - first: refusal for row, refusal in by_row.items() if first <= row < first + part.rows.num_rows}
            first += part.rows.num_rows
            left.append(await self._dead_letter_part(part, mine) if mine else part)
        return Piece(table=piece.table, parts=left)

    async def _dead_letter_part(self, part: chunks.Chunk, refusals: Mapping[int, results.RejectedRow]) -> chunks.Chunk:
        places = part.places(sorted(refusals))
        failed = [
            letters.Failed(
                place=dataclasses.replace(place, item=0),
                item=place.item,
                category=deadletters.Category.SINK_REJECTED,
                stage="write",
                code=refusals[row].code,
                message=refusals[row].message,
            )
            for row, place in zip(sorted(refusals), places, strict=True)
        ]
        await self._letters.write(part.range.partition, failed)
        refused = np.zeros(part.rows.num_rows, dtype=bool)
        refused[list(refusals)] = True
        self._accounts.refused(part.range.partition, part.where(refused).rows_by_block())
        return part.where(~refused)
