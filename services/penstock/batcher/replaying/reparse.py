"""Letters of a replay log as a group of events: their original bytes parsed again with the schema of today.

A letter here is a block of one event. Runs on the lane's worker thread, in bulk where the letters allow it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.batcher.reading import prepare
from penstock.batcher.replaying import record_columns
from penstock.core import addresses, blocks, deadletters, delivery, markers, parse, schema
from penstock.core.batching import chunks
from penstock.log import port

_NO_BOUND_BYTES = 2**62
"""Every event was admitted once; what the door takes today is not asked again."""

_Indexed = tuple[list[int], pa.RecordBatch]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One record of a replay log. `seen`: the same attempt of the same letter stood in the log before; `gone`: the letter
    holds no bytes, and neither does any more the topic they were in."""

    record: port.Record
    letter: deadletters.DeadLetter
    seen: bool
    gone: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reparsed:
    """The events that go on, as a group; a letter for each event that does not, by its offset in the replay log."""

    group: prepare.Group
    refused: Sequence[letters.Failed]


class Reparser:
    """Not thread-safe: used from the lane's one worker thread."""

    def __init__(self, settings: lane_settings.LaneSettings, log_id: str, preparer: prepare.Preparer) -> None:
        self._settings, self._preparer = settings, preparer
        self._log_id = markers.replay_log_id(log_id, settings.sink)
        declared = settings.event_schema
        # What came in as columns was rendered under the columns' own names, whatever their path in a document is.
        named = dataclasses.replace(declared, fields=tuple(dataclasses.replace(field, path="") for field in declared.fields))
        self._parsers: dict[deadletters.OriginalFormat, Callable[[Sequence[bytes]], parse.Parsed]] = {
            deadletters.OriginalFormat.JSON: parse.EventParser(declared, _NO_BOUND_BYTES).parse,
            deadletters.OriginalFormat.ARROW: parse.EventParser(named, _NO_BOUND_BYTES).parse,
        }
        if settings.values:
            values = settings.values()
            self._parsers[settings.record_format] = lambda originals: values.read(pa.array(originals, pa.binary()))
        self._fingerprint = schema.fingerprint(declared)

    def read(self, partition: int, replays: Sequence[Replay]) -> Reparsed:
        """Consecutive records of one partition, in offset order; at least one."""
        events, refused = self._parsed(replays)
        places, table, lengths, sizes = self._table(replays, events)
        too_large = self._preparer.are_too_large(lengths, sizes)
        for at, length, refuse in zip(places, lengths.tolist(), too_large.tolist(), strict=True):
            if problem := self._problem(replays[at], length, too_large=refuse):
                refused[at] = problem
        going_on = [at for at in places if at not in refused]
        kept = [row for row, at in enumerate(places) if at not in refused]
        offsets = np.array([replays[at].record.offset for at in going_on], dtype=np.int64)
        goes = table.take(pa.array(kept, pa.int64()))
        grown = self._preparer.grown(goes, sizes[kept]) if kept else sizes[:0]
        made = [len(replays[places[row]].letter.items) or int(lengths[row]) for row in kept]
        group = prepare.Group(
            log_id=self._log_id,
            partition=partition,
            blocks=[self._verdict(replay, at in refused) for at, replay in enumerate(replays)],
            events=chunks.Events(
                offsets=offsets,
                ordinals=np.zeros(len(offsets), dtype=np.int64),
                origins=_origins([replays[at].letter for at in going_on]),
            ),
            table=goes,
            lengths=np.array(made, dtype=np.int64),
            sizes=grown // np.maximum(lengths[kept], 1) * np.array(made, dtype=np.int64),
            items=[replays[at].letter.items for at in going_on],
        )
        return Reparsed(group=group, refused=[refused[at] for at in sorted(refused)])

    def _parsed(self, replays: Sequence[Replay]) -> tuple[list[_Indexed], dict[int, letters.Failed]]:
        """Per format the places of the letters that could be read, with their columns; and why the others could not."""
        events: list[_Indexed] = []
        refused = {at: _gone(one) for at, one in enumerate(replays) if one.gone}
        for form, parser in self._parsers.items():
            fits = (one.letter.original_format is form and not one.seen and not one.gone for one in replays)
            mine = [at for at, fit in enumerate(fits) if fit]
            if not mine:
                continue
            parsed = parser([replays[at].letter.original for at in mine])
            events.append(([mine[index] for index in parsed.accepted.tolist()], parsed.batch))
            for why in parsed.rejected:
                refused[mine[why.index]] = _unread(replays[mine[why.index]], why)
        return events, refused

    def _table(
        self, replays: Sequence[Replay], events: Sequence[_Indexed]
    ) -> tuple[list[int], pa.Table, prepare.Index, prepare.Index]:
        """Places in the order of the log, the columns of the events there, the rows each makes and the bytes they repeat."""
        if not events:
            return [], pa.table({}), np.zeros(0, np.int64), np.zeros(0, np.int64)
        batches = []
        for places, batch in events:
            received = [replays[at].letter.received_at_microseconds for at in places]
            stamps = pa.array(received, pa.timestamp("us", tz="UTC"))
            stamped = batch.append_column(pa.field(blocks.RECEIVED_AT, stamps.type), stamps)
            mine = [replays[at].letter for at in places]
            whole = record_columns.with_columns(stamped, mine, self._settings.event_schema)
            batches.append(self._preparer.wanted(whole, [letter.state for letter in mine]))
        found = [at for places, _ in events for at in places]
        order = np.argsort(np.array(found, dtype=np.int64))
        lengths = np.concatenate([self._preparer.lengths(batch) for batch in batches])
        table = pa.Table.from_batches(batches).take(pa.array(order))
        sizes = np.concatenate([self._preparer.sizes(batch) for batch in batches])
        return [found[at] for at in order], table, lengths[order], sizes[order]

    def _problem(self, replay: Replay, length: int, *, too_large: bool) -> letters.Failed | None:
        """Why an event that could be read makes none of the rows it should."""
        if gone := [item for item in replay.letter.items if item >= length]:
            shown = ", ".join(map(str, gone))
            return _failed(
                replay,
                deadletters.Category.TRANSFORM_FAILED,
                "ItemGone",
                f"the transform of revision {self._settings.revision} makes {length:,} rows of this event and no item {shown}; "
                "discard the letter, or restore the explode it was made under",
            )
        if not replay.letter.items and too_large:
            return _failed(replay, deadletters.Category.TOO_LARGE, "TooManyRows", self._preparer.too_large_message)
        return None

    def _verdict(self, replay: Replay, refused: bool) -> prepare.BlockVerdict:
        """The books know a replayed letter as a block of one event; one that was seen before as its duplicate."""
        record = replay.record
        return prepare.BlockVerdict(
            offset=record.offset,
            append_time_microseconds=record.append_time_microseconds,
            producer=record.producer,
            sequence=record.sequence,
            schema_fingerprint=self._fingerprint,
            events=1,
            duplicates=int(replay.seen),
            too_large=(0,) if refused else (),
        )


def _gone(replay: Replay) -> letters.Failed:
    message = "the record was too large for its letter, and has left its topic since; discard the letter"
    return _failed(replay, replay.letter.category, "RecordGone", message, stage=replay.letter.stage)


def _unread(replay: Replay, why: parse.Rejection) -> letters.Failed:
    where = f"{why.field}: " if why.field else ""
    category = deadletters.Category(why.code.value)
    return _failed(replay, category, why.code.value, f"{where}{why.reason}; {why.remedy}", stage="parse")


def _failed(
    replay: Replay, category: deadletters.Category, code: str, message: str, *, stage: str = "transform"
) -> letters.Failed:
    place = addresses.Position(replay.record.offset)
    return letters.Failed(place=place, item=None, category=category, stage=stage, code=code, message=message)


def _origins(failed: Sequence[deadletters.DeadLetter]) -> pa.Table:
    """Where the letters' events stood, so that an upsert compares them with what has landed since."""
    columns = [
        pa.array([letter.log_id for letter in failed], pa.string()),
        pa.array([letter.partition for letter in failed], pa.int32()),
        pa.array([letter.offset for letter in failed], pa.int64()),
        pa.array([letter.ordinal for letter in failed], pa.int32()),
    ]
    return pa.table(columns, names=list(delivery.ADDRESS_COLUMNS[:-1]))
