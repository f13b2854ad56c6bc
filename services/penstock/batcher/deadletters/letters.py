"""Dead letters of one lane: the failed unit with its original bytes, durable before its block can finish."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog

from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import bounded, originals, seen_state
from penstock.core import addresses, deadletters, dialects, markers, schema
from penstock.log import port
from penstock.telemetry import metrics

_log = structlog.get_logger()

_FULL_RETRY_SECONDS = 1.0
_READ_BYTES = 256 << 10
"""Of blocks that follow each other; the first comes whatever its size."""
_APPENDED_BYTES = 1 << 20
"""Of letters that are appended together."""
_ENVELOPE_BYTES = 1 << 10
"""A letter without its original, about."""
_SERIES = 16
"""Of letters at a time: within a series, a log in Kafka takes the next one when it has answered for the last."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One unit to dead-letter. `item` is None when the unit is the whole event."""

    place: addresses.Position
    item: int | None
    category: deadletters.Category
    stage: str
    code: str
    message: str
    expression: str = ""
    original: originals.Original | None = None
    """Where it is at hand already; else it is read again from the log."""


class Letters(Protocol):
    """Where refused rows go, whether they came from the main log or from a replay."""

    async def write(self, partition: int, failed: Sequence[Failed]) -> None:
        """Return when all letters are durable. Raises LogError, on which the lane must stop: nothing may finish without."""


class LetterWriter:
    """Appends letters in series with gapless sequences. Used from the lane's event loop only."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        log: port.EventLog,
        written: Callable[[Sequence[deadletters.DeadLetter]], None] = lambda _: None,
    ) -> None:
        """`written` is told of what `write` has made durable."""
        self._settings, self._log, self._told = settings, log, written
        self._series: dict[tuple[int, int], tuple[str, int]] = {}
        """By partition and number: the producer's name and its next sequence. One that was broken off is not gone on with."""
        self._turns: dict[int, asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self._fingerprint = schema.fingerprint(settings.event_schema)
        self.seen = seen_state.SeenState(settings.transform.state)

    async def write(self, partition: int, failed: Sequence[Failed]) -> None:
        """Return when all letters are durable. Raises LogError, on which the lane must stop: nothing may finish without."""
        by_offset: dict[int, list[Failed]] = {}
        for unit in failed:
            by_offset.setdefault(unit.place.offset, []).append(unit)
        ahead: dict[int, port.Record] = {}
        ready: list[deadletters.DeadLetter] = []
        held = 0
        for offset, units in by_offset.items():
            found = await self._letters(partition, offset, units, ahead)
            ready += found
            held += sum(len(letter.original) + _ENVELOPE_BYTES for letter in found)
            if held >= _APPENDED_BYTES:
                await self._keep(partition, ready)
                ready, held = [], 0
        await self._keep(partition, ready)

    async def _keep(self, partition: int, found: Sequence[deadletters.DeadLetter]) -> None:
        if found:
            await self.append(partition, found)
            self._told(found)

    async def _letters(
        self, partition: int, offset: int, units: Sequence[Failed], ahead: dict[int, port.Record]
    ) -> list[deadletters.DeadLetter]:
        at_hand = [unit.original for unit in units if unit.original is not None]
        if len(at_hand) == len(units):
            return [
                self._letter(partition, "", original.received_at_microseconds, original, unit)
                for unit, original in zip(units, at_hand, strict=True)
            ]
        record = await self._block(partition, offset, ahead)
        source = await asyncio.to_thread(originals.of, record, self._settings.record_format)
        block = deadletters.block_name(record.producer, record.sequence)
        appended = record.append_time_microseconds
        return [self._letter(partition, block, appended, source.event(unit.place), unit) for unit in units]

    async def _block(self, partition: int, offset: int, ahead: dict[int, port.Record]) -> port.Record:
        """`ahead` has what was read with an earlier one: failed rows seldom come alone."""
        if offset not in ahead:
            ahead.clear()
            found = await self._log.read(port.EVENTS, partition, offset, max_bytes=_READ_BYTES)
            ahead.update((record.offset, record) for record in found)
        if offset not in ahead:
            raise port.OffsetOutOfRangeError(f"block {partition}/{offset} is gone while one of its events is dead-lettered")
        return ahead[offset]

    def _letter(
        self, partition: int, block: str, appended: int, event: originals.Original, unit: Failed
    ) -> deadletters.DeadLetter:
        told = self._settings
        event, more = bounded.held(event)
        address = addresses.Address(self._log.log_id, partition, unit.place)
        items = () if unit.item is None else (unit.item,)
        return deadletters.DeadLetter(
            id=deadletters.letter_id(address, told.lane, items, block=block),
            lane=told.lane,
            namespace=told.namespace,
            pipeline=told.pipeline,
            sink=told.sink,
            log_id=self._log.log_id,
            partition=partition,
            offset=unit.place.offset,
            ordinal=unit.place.ordinal,
            items=items,
            unit=deadletters.Unit.EVENT if unit.item is None else deadletters.Unit.ROW,
            stage=unit.stage,
            category=unit.category,
            code=unit.code,
            message=unit.message + more,
            expression=unit.expression,
            fingerprint=deadletters.fingerprint(unit.category, unit.message),
            original=event.document,
            original_format=event.format,
            received_at_microseconds=event.received_at_microseconds,
            append_time_microseconds=appended,
            failed_at_microseconds=time.time_ns() // 1000,
            schema_fingerprint=self._fingerprint,
            revision=told.revision,
            traceparent="",
            attempt=1,
            state=self.seen.of(partition, unit.place),
            record=event.record,
        )

    async def append(self, partition: int, letters: Sequence[deadletters.DeadLetter]) -> None:
        """Return when these letters are durable, however long the log is full."""
        async with self._turns[partition]:
            some = range(min(_SERIES, len(letters)))
            done = await asyncio.gather(
                *(self._append_series(partition, at, letters[at::_SERIES]) for at in some), return_exceptions=True
            )
        if failed := [outcome for outcome in done if isinstance(outcome, BaseException)]:
            raise failed[0]
        self._settings.failpoint("lane.lettered")
        for category, count in collections.Counter(letter.category for letter in letters).items():
            metrics.DEAD_LETTERS.labels(**self._settings.labels, category=category.value).inc(count)

    async def _append_series(self, partition: int, number: int, letters: Sequence[deadletters.DeadLetter]) -> None:
        name, first = self._series.pop((partition, number), (f"letters-{secrets.token_hex(8)}", 0))
        records = [self._record(name, first + at, letter) for at, letter in enumerate(letters)]
        # Appends made together share the log's flushes, and the log keeps the order they were called in.
        done = await asyncio.gather(
            *(self._log.append(port.DEAD_LETTERS, partition, record) for record in records), return_exceptions=True
        )
        failed = next((at for at, outcome in enumerate(done) if isinstance(outcome, BaseException)), len(records))
        for record in records[failed:]:
            await self._append_patiently(partition, record)
        self._series[partition, number] = name, first + len(letters)

    def _record(self, name: str, sequence: int, letter: deadletters.DeadLetter) -> port.NewRecord:
        value, headers = dialects.encode(letter, self._settings.dead_letters)
        key = letter.record.key if letter.record else None
        return port.NewRecord(value=value, headers=headers, producer=name, sequence=sequence, key=key)

    async def _append_patiently(self, partition: int, record: port.NewRecord) -> None:
        """Nothing may finish without its letter, and room comes back when lanes finish and the log is trimmed."""
        while True:
            try:
                await self._log.append(port.DEAD_LETTERS, partition, record)
            except port.LogFullError as error:
                _log.warning("dead_letter_waits", sink=self._settings.sink, error=str(error))
                await asyncio.sleep(_FULL_RETRY_SECONDS)
            else:
                return

    async def known(self, partition: int, since_microseconds: int) -> set[addresses.Position]:
        """Rows of this lane that have a letter written at or after `since`: what a retry must not count as landed."""
        return {
            addresses.Position(letter.offset, letter.ordinal, item)
            async for letter in self.since(partition, since_microseconds)
            for item in letter.items
            if self._log.known_as.holds(letter.log_id, partition, letter.offset)
        }

    async def since(self, partition: int, since_microseconds: int) -> AsyncIterator[deadletters.DeadLetter]:
        """This lane's letters that were written at or after `since`, newest first and without their originals."""
        before = (await self._log.bounds(port.DEAD_LETTERS, partition)).end
        while page := await self._log.headers(port.DEAD_LETTERS, partition, before, limit=256):
            for header in page:
                if header.append_time_microseconds < since_microseconds:
                    return
                if markers.is_marker(header.headers):
                    continue
                with contextlib.suppress(deadletters.DeadLetterError):  # A damaged record is not what this process wrote.
                    letter = dialects.decode(b"", header.headers)
                    if letter.lane == self._settings.lane:
                        yield letter
            before = page[-1].offset
