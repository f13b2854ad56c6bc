"""Appending one producer's blocks to one partition, in order and without a gap.

The next sequence is sent only when the outcome of the one before is known. Where it stays unknown past the deadline this
producer falls silent for ever and a new one starts at sequence 0, so that no reader takes the hole for a lost block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from penstock.ingest import compose
from penstock.log import port

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_logger = structlog.get_logger(__name__)


class UnknownOutcomeError(Exception):
    """The block may or may not be in the log, now or later."""


class PartitionWriter:
    """The only writer of its partition in this process; appends in the order of the calls."""

    def __init__(self, log: port.EventLog, partition: int, new_producer: Callable[[], str]) -> None:
        self._log = log
        self._partition = partition
        self._new_producer = new_producer
        self._producer, self._sequence = new_producer(), 0
        self._turn = asyncio.Lock()

    async def append(self, block: compose.Block, deadline: float) -> None:
        """Return when the block is durable; `deadline` is in the loop's time. Raises LogFullError, UnknownOutcomeError."""
        async with self._turn:
            record = port.NewRecord(value=block.value, headers=block.headers, producer=self._producer, sequence=self._sequence)
            try:
                await self._until_known(record, deadline)
            except UnknownOutcomeError:
                self._producer, self._sequence = self._new_producer(), 0
                raise
            self._sequence += 1

    async def _until_known(self, record: port.NewRecord, deadline: float) -> None:
        """Send the same record until the log says what became of it. Only a first attempt can find the log full for sure."""
        pause, tried = _FIRST_PAUSE_SECONDS, False
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        await self._log.append(port.EVENTS, self._partition, record)
                        return
                    except port.LogFullError:
                        if not tried:
                            raise
                    except port.LogError as error:
                        _logger.warning("append_failed", partition=self._partition, sequence=record.sequence, error=str(error))
                    tried = True
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        except TimeoutError as error:
            raise UnknownOutcomeError(f"no answer from the log for partition {self._partition} in time") from error
