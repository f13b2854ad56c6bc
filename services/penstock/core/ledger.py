"""The counts that prove conservation, and the text that carries them with a committed offset.

Each block has `Counts`; they are added to the partition's when the watermark passes the block and are committed together
with the offset. The counts come from independent places, which is what lets the equations fail: see docs/delivery.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec

from penstock.core import skips

VERSION = 1
MAX_METADATA_BYTES = 3_500
MAX_PRODUCERS = 16


class MetadataError(ValueError):
    """Offset metadata that this release can't read; the message says what was found and the way out."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of some blocks of one partition. Events first, then rows; `lost` and `resent_blocks` stand in no equation.

    `without_rows` is a part of `transformed`. `resent_blocks` counts blocks, not events.
    """

    read: int = 0
    duplicates: int = 0
    dead_lettered_events: int = 0
    transformed: int = 0
    without_rows: int = 0
    lost: int = 0
    resent_blocks: int = 0
    made: int = 0
    filtered: int = 0
    other_lanes: int = 0
    written: int = 0
    dead_lettered_rows: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in _COUNT_NAMES})

    def __sub__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) - getattr(other, name) for name in _COUNT_NAMES})

    def unexplained(self, *, events_in_flight: int = 0, rows_in_flight: int = 0) -> int:
        """Events and rows that the two equations cannot place; anything but 0 is a fault."""
        events = self.duplicates + self.dead_lettered_events + self.transformed + events_in_flight
        rows = self.filtered + self.other_lanes + self.written + self.dead_lettered_rows + rows_in_flight
        return abs(self.read - events) + abs(self.made - rows)


_COUNT_NAMES = tuple(field.name for field in dataclasses.fields(Counts))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaneMetadata:
    """What a lane must remember with the offset of one partition.

    `producers` maps a producer to the last sequence below the offset, the most recent producer last; `starts` counts the
    starts since the last progress, for the crash-loop guard, and `suspect` is the offset of the block that was in work alone
    (batcher.guarding.suspects); `start_offset` is where the lane began; `skipped` are the stretches a person has told it to
    leave out; `plans` is the text of core.plans.
    """

    counts: Counts = dataclasses.field(default_factory=Counts)
    producers: Mapping[str, int] = dataclasses.field(default_factory=dict)
    starts: int = 0
    start_offset: int = 0
    suspect: int | None = None
    skipped: skips.Skips = ()
    plans: str = ""
    version: int = VERSION


class _Version(msgspec.Struct):
    version: int


def to_metadata(metadata: LaneMetadata) -> str:
    """Compact text of at most MAX_METADATA_BYTES; the oldest producers are left out, which only blinds gap detection to them."""
    kept = list(metadata.producers.items())[-MAX_PRODUCERS:]
    while len(encoded := _encode(metadata, kept)) > MAX_METADATA_BYTES and kept:
        kept = kept[1:]
    return encoded.decode()


def from_metadata(text: str) -> LaneMetadata:
    """The inverse of `to_metadata`. Raises MetadataError."""
    try:
        version = msgspec.json.decode(text, type=_Version).version
        if version == VERSION:
            return msgspec.json.decode(text, type=LaneMetadata)
    except msgspec.MsgspecError as error:
        raise MetadataError(f"offset metadata that no Penstock wrote: {text[:80]!r} ({error})") from error
    raise MetadataError(
        f"offset metadata has version {version}, this release reads {VERSION}: run the release that wrote it, or a newer one"
    )


def _encode(metadata: LaneMetadata, producers: list[tuple[str, int]]) -> bytes:
    return msgspec.json.encode(dataclasses.replace(metadata, producers=dict(producers)))
