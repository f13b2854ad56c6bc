"""Dead letters in somebody else's topic: a record there as a letter of one of our lanes.

What such a letter is, is told by where its record stands, not by what it says: topic, partition and offset make the id, so
whoever reads the record again, after a crash or a year, means the same letter. Where the event stood first is kept beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from penstock.core import addresses, deadletters, markers
from penstock.core.dialects import codec, foreign

OURS = "penstock"
"""The tool that wrote it, where that is another pipeline."""
BARE = "no reason given: the record has no headers (errors.deadletterqueue.context.headers.enable)"


class NoLetterError(deadletters.DeadLetterError):
    """A record that is not damaged and no letter either, such as a marker of another pipeline."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A record of a topic that others write. Names of headers may repeat, and values may be null."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp_microseconds: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The lane that takes them. `formerly`: its names before, under which letters may have been put back already."""

    lane: str
    namespace: str
    pipeline: str
    sink: str
    formerly: Sequence[str] = ()
    original_format: deadletters.OriginalFormat = deadletters.OriginalFormat.JSON
    """How the values of other tools' records are written: as those of the pipeline's own source."""


def adopt(
    stray: Stray, home: Home, dialect: codec.Dialect | None = None, known: Collection[str] = frozenset()
) -> deadletters.DeadLetter:
    """The letter, as one of the lane `home`. `dialect` None: whichever the headers are in. `known`: ids that have a fate.

    Raises DeadLetterError for a record that is no letter or can't be read; the message names the header.
    """
    last = codec.last_of(stray.headers)
    if markers.is_marker(last):
        raise NoLetterError("a marker of another pipeline")
    if stray.value is None:
        raise deadletters.DeadLetterError(
            "no value, so there is nothing to put back; a share group copies records where "
            "errors.deadletterqueue.copy.record.enable says so"
        )
    read, elsewhere = _read(stray, last, dialect)
    ids = [_id(stray, read, lane) for lane in (home.lane, *home.formerly)]
    return msgspec.structs.replace(
        read,
        id=next((id_ for id_ in ids if id_ in known), ids[0]),
        lane=home.lane,
        namespace=home.namespace,
        pipeline=home.pipeline,
        sink=home.sink,
        log_id=stray.topic_id,
        partition=stray.partition,
        offset=stray.offset,
        original_format=read.original_format if elsewhere.tool == OURS else home.original_format,
        attempt=1,
        split_from="",
        elsewhere=elsewhere,
    )


def _id(stray: Stray, read: deadletters.DeadLetter, lane: str) -> str:
    """Of another tool's record, its place. Another pipeline writes one letter several times, once for each attempt."""
    if not read.lane:
        address = addresses.Address(stray.topic_id, stray.partition, addresses.Position(stray.offset, 0))
        return deadletters.letter_id(address, lane, ())
    return hashlib.blake2b(msgspec.json.encode([stray.topic_id, read.id, lane]), digest_size=16).hexdigest()


def _read(
    stray: Stray, last: Mapping[str, bytes], dialect: codec.Dialect | None
) -> tuple[deadletters.DeadLetter, deadletters.Elsewhere]:
    value = stray.value or b""
    if codec.is_ours(last):
        ours = codec.decode(value, last)
        # What the event found of its key, it found in the other pipeline.
        ours = msgspec.structs.replace(ours, state=b"")
        return ours, deadletters.Elsewhere(topic=stray.topic, tool=OURS, who=ours.lane)
    layout = _layout(last, dialect)
    if layout is None:
        return _bare(stray), deadletters.Elsewhere(topic=stray.topic, tool="connect")
    # A record that failed several times was first where the first of these headers says, and failed last as the last says.
    first = {name: found for name, found in reversed(stray.headers) if found is not None}
    stood = {name: first[name] for name in (layout.topic, layout.partition, layout.offset, layout.timestamp) if name in first}
    read = foreign.decode(layout, value, {**last, **stood}, stray.timestamp_microseconds)
    at = read.received_at_microseconds or max(0, stray.timestamp_microseconds)
    record = deadletters.Record(
        topic=read.log_id.removeprefix(f"{layout.tool}:"),
        partition=read.partition,
        offset=read.offset,
        timestamp_microseconds=at,
        key=stray.key,
        headers=tuple((name, found) for name, found in stray.headers if not name.startswith(layout.prefix)),
    )
    kept = msgspec.structs.replace(read, record=record, received_at_microseconds=at, append_time_microseconds=at)
    return kept, deadletters.Elsewhere(topic=stray.topic, tool=layout.tool, who=read.sink)


def _layout(last: Mapping[str, bytes], dialect: codec.Dialect | None) -> foreign.Layout | None:
    """None for a record of a Connect that writes no headers, which only somebody who says so can know."""
    if dialect is None:
        if (layout := foreign.layout_of(last)) is None:
            raise deadletters.DeadLetterError(
                "no header of Penstock, Connect, Kafka or Spring; if all are of one tool, name its dialect"
            )
        return layout
    found = foreign.layout_of(last, foreign.layouts(codec.TOOLS[dialect]))
    if found is None and (dialect is not codec.Dialect.CONNECT or (found := foreign.layout_of(last))):
        other = f", and {found.topic} is there" if found else ""
        raise deadletters.DeadLetterError(f"no header of {dialect.value}{other}")
    return found


def _bare(stray: Stray) -> deadletters.DeadLetter:
    """Connect keeps key, value and timestamp of the record that failed."""
    at = max(0, stray.timestamp_microseconds)
    record = deadletters.Record(
        topic="", partition=-1, offset=-1, timestamp_microseconds=at, key=stray.key, headers=tuple(stray.headers)
    )
    read = foreign.whole_event(stray.value or b"", tool="connect", said=BARE, failed_at_microseconds=stray.timestamp_microseconds)
    return msgspec.structs.replace(read, record=record, received_at_microseconds=at, append_time_microseconds=at)
