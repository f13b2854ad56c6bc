"""Letters for records whose values can't be read: with everything that the record had, which is still at hand."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters, originals
from penstock.batcher.reading import prepare
from penstock.core import addresses, deadletters


def failed(settings: lane_settings.LaneSettings, verdict: prepare.BlockVerdict) -> Iterator[letters.Failed]:
    """What is said of them; none for a block."""
    for one in verdict.unread:
        where = f"{one.why.field}: " if one.why.field else ""
        yield letters.Failed(
            place=addresses.Position(one.offset),
            item=None,
            category=deadletters.Category(one.why.code.value),
            stage="parse",
            code=one.why.code.value,
            message=f"{where}{one.why.reason}; {one.why.remedy}",
            original=originals.of_record(
                one.place, settings.record_format, one.offset, one.timestamp_microseconds, one.key, one.value, one.headers
            ),
        )
