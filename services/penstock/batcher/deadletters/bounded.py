"""What a letter can hold of a record that others wrote: brokers let theirs be larger than a record of our own log may be."""

from __future__ import annotations

import dataclasses

import msgspec

from penstock.batcher.deadletters import originals

MOST_BYTES = 7 << 20
"""Of value, key and headers. A record of our log has 8 MiB, of which the letter's own words and a key's state need some."""


def held(event: originals.Original) -> tuple[originals.Original, str]:
    """The event as a letter can hold it, and what the letter must say where that is nothing of it."""
    record = event.record
    if record is None:
        return event, ""
    # In some dialects these are written as text.
    beside = 2 * (len(record.key or b"") + sum(len(name) + len(value or b"") for name, value in record.headers))
    if len(event.document) + beside <= MOST_BYTES:
        return event, ""
    said = (
        f"; the record's value has {len(event.document):,} bytes, with key and headers more than a letter holds: a replay reads "
        f"it from {record.topic}/{record.partition}/{record.offset}, which it can for as long as that topic keeps it"
    )
    bare = msgspec.structs.replace(record, key=None, headers=(), apart=True)
    return dataclasses.replace(event, document=b"", record=bare), said
