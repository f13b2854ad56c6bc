"""Letters for units that were replayed and failed again: the same letter with one more attempt and the new reason."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.core import deadletters, dialects, schema
from penstock.log import port

_READ_BYTES = 1
"""`EventLog.read` gives at least one record whatever the bound: exactly the replay that is asked for."""


class SecondLetters:
    """`letters.Letters` for rows that came out of a replay log: their place names a record there."""

    def __init__(self, settings: lane_settings.LaneSettings, log: port.EventLog, writer: letters.LetterWriter) -> None:
        self._settings, self._log, self._writer = settings, log, writer
        self._topic = port.replay_topic(settings.sink)
        self._fingerprint = schema.fingerprint(settings.event_schema)

    async def write(self, partition: int, failed: Sequence[letters.Failed]) -> None:
        """Return when all letters are durable. Raises LogError."""
        # Each original is read back for its own letter: rare, and the originals need not be held until then.
        await self._writer.append(partition, [await self._second(partition, unit) for unit in failed])

    async def _second(self, partition: int, unit: letters.Failed) -> deadletters.DeadLetter:
        offset = unit.place.offset
        found = await self._log.read(self._topic, partition, offset, max_bytes=_READ_BYTES)
        if not found or found[0].offset != offset:
            raise port.OffsetOutOfRangeError(f"replay {partition}/{offset} is gone while it is dead-lettered again")
        return self._again(dialects.decode(found[0].value, found[0].headers), unit)

    def _again(self, first: deadletters.DeadLetter, unit: letters.Failed) -> deadletters.DeadLetter:
        """With the place of the first letter. A row of an event that was replayed whole gets a letter of its own."""
        items = first.items if unit.item is None else (unit.item,)
        return msgspec.structs.replace(
            first,
            id=first.id if items == first.items else deadletters.row_letter_id(first.id, items),
            items=items,
            unit=deadletters.Unit.ROW if items else deadletters.Unit.EVENT,
            stage=unit.stage,
            category=unit.category,
            code=unit.code,
            message=unit.message,
            expression=unit.expression,
            fingerprint=deadletters.fingerprint(unit.category, unit.message),
            failed_at_microseconds=time.time_ns() // 1000,
            schema_fingerprint=self._fingerprint,
            revision=self._settings.revision,
            attempt=first.attempt + 1,
            split_from="" if items == first.items else first.id,
        )
