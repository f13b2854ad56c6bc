"""The journal of a Files directory: what is about to be put in place, and with that what has landed.

A line is `crc32 length json`. A line that a crash tore can only be the last one: it is cut off, because what it says was
never answered as written. Damage further up would mean forgetting what has landed, so it is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import zlib
from collections.abc import Sequence

import msgspec
import structlog

from penstock.core import addresses
from penstock.sinks import durable, landed, tables

_FORMAT = 1

_log = structlog.get_logger()

_Place = tuple[int, int, int]


class _Range(msgspec.Struct, array_like=True, frozen=True):
    log_id: str
    partition: int
    start: _Place
    end: _Place


class _Format(msgspec.Struct, tag="format", frozen=True):
    version: int


class _Landed(msgspec.Struct, tag="landed", frozen=True):
    """All that has landed in one table of one lane; written when the journal is folded."""

    lane: str
    table: str
    ranges: list[_Range]


class _Intent(msgspec.Struct, tag="intent", frozen=True):
    """`ranges`: what will have landed in this table once the moves are done; `moves`: (temporary, final) below the root."""

    lane: str
    table: str
    ranges: list[_Range]
    moves: list[tuple[str, str]]


_Record = _Format | _Landed | _Intent


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A write whose files are complete under temporary names. From here on it happens, whatever happens."""

    lane: str
    table: str
    landed: Sequence[addresses.Range]
    moves: Sequence[tuple[str, str]]


class Journal:
    """The open journal. After an OSError its end is unknown: it must be opened anew, which reads what is really there."""

    def __init__(self, path: pathlib.Path) -> None:
        """Read it, or begin one. Raises SinkError (config) when it is damaged, OSError."""
        self._path = path
        self.landed = landed.Landed()
        self.intents: list[Intent] = []
        if path.exists():
            self._replay(_records(path))
        else:
            self._rewrite([_Format(_FORMAT)])
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, intent: Intent) -> None:
        """Durable on return. Raises OSError; the intent may then stand in the journal or not."""
        record = _Intent(intent.lane, intent.table, _packed(intent.landed), list(intent.moves))
        durable.write_all(self._descriptor, _line(record))
        os.fsync(self._descriptor)
        self.intents.append(intent)
        self.landed.replace(intent.lane, intent.table, intent.landed)

    def fold(self) -> None:
        """Forget intents, keep what has landed. Only when the moves of all intents are done and durable."""
        known = [_Landed(lane, table, _packed(self.landed.of(lane, table))) for lane, table in self.landed.tables()]
        self._rewrite([_Format(_FORMAT), *known])
        os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self.intents.clear()

    def close(self) -> None:
        os.close(self._descriptor)

    def _replay(self, records: Sequence[_Record]) -> None:
        for record in records:
            if isinstance(record, _Format):
                continue
            ranges = [_range(item) for item in record.ranges]
            self.landed.replace(record.lane, record.table, ranges)
            if isinstance(record, _Intent):
                self.intents.append(Intent(lane=record.lane, table=record.table, landed=ranges, moves=record.moves))

    def _rewrite(self, records: Sequence[_Record]) -> None:
        fresh = self._path.with_suffix(".new")
        durable.write_file(fresh, b"".join(map(_line, records)))
        fresh.replace(self._path)
        durable.sync_directories([self._path.parent])


def _records(path: pathlib.Path) -> list[_Record]:
    """Every record; a torn end is cut off the file. Raises SinkError (config)."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    whole = list(itertools.takewhile(_payload, lines))
    good = sum(map(len, whole))
    if not whole or any(map(_payload, lines[len(whole) :])):
        raise _damaged(path, good)
    _check_format(path, whole[0])
    if good < len(content):
        _log.warning("files_journal_end_cut_off", path=str(path), at=good, bytes=len(content) - good)
        os.truncate(path, good)
    return [msgspec.json.decode(_payload(line) or b"", type=_Record) for line in whole]


def _check_format(path: pathlib.Path, line: bytes) -> None:
    """Before anything else is decoded: a newer format may have records that this version does not know."""
    found = msgspec.json.decode(_payload(line) or b"", type=dict).get("version")
    if found != _FORMAT:
        raise tables.misconfigured(
            "JOURNAL_FORMAT", f"{path} has format {found}, this version reads {_FORMAT}", "run the version that wrote it"
        )


def _line(record: _Record) -> bytes:
    payload = msgspec.json.encode(record)
    return b"%08x %d %b\n" % (zlib.crc32(payload), len(payload), payload)


def _payload(line: bytes) -> bytes | None:
    """The JSON of the line, or None when it was not written whole."""
    crc, _, rest = line.partition(b" ")
    length, _, payload = rest.partition(b" ")
    whole = payload.removesuffix(b"\n")
    if whole == payload or b"%08x" % zlib.crc32(whole) != crc or b"%d" % len(whole) != length:
        return None
    return whole


def _damaged(path: pathlib.Path, at: int) -> Exception:
    return tables.misconfigured(
        "JOURNAL_DAMAGED",
        f"{path} is damaged at byte {at}, before its end: it can't tell what has landed",
        "restore it from a backup; without one move it away, and rows that had landed but were not committed may land twice",
    )


def _packed(ranges: Sequence[addresses.Range]) -> list[_Range]:
    return [_Range(item.log_id, item.partition, _place(item.start), _place(item.end)) for item in ranges]


def _place(position: addresses.Position) -> _Place:
    return position.offset, position.ordinal, position.item


def _range(packed: _Range) -> addresses.Range:
    return addresses.Range(packed.log_id, packed.partition, addresses.Position(*packed.start), addresses.Position(*packed.end))
