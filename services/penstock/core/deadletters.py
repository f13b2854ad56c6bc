"""What is kept of an event or row that cannot be landed.

The id is made from the failed unit's place and the lane alone, so a crash between writing a letter and committing the
offset writes the same letter again and readers collapse the two. How it is written is told in core.dialects.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Sequence

import msgspec

from penstock.core import addresses

MAX_TEXT_CHARACTERS = 4_000
MAX_FINGERPRINT_CHARACTERS = 200


class DeadLetterError(ValueError):
    """A record that is not a dead letter this release can read; the message names the header."""


class Unit(enum.Enum):
    """What failed: the whole event, or one row of it while its neighbours go on."""

    EVENT = "Event"
    ROW = "Row"


class Category(enum.Enum):
    MALFORMED = "Malformed"
    SCHEMA_MISMATCH = "SchemaMismatch"
    TOO_LARGE = "TooLarge"
    TRANSFORM_FAILED = "TransformFailed"
    SINK_REJECTED = "SinkRejected"
    UNCLASSIFIED = "Unclassified"

    @property
    def unit(self) -> Unit:
        """The first three are found before there are rows."""
        return Unit.EVENT if self in (Category.MALFORMED, Category.SCHEMA_MISMATCH, Category.TOO_LARGE) else Unit.ROW


class OriginalFormat(enum.Enum):
    """JSON: the event's own bytes. ARROW: it came in as columns, and this is the row rendered as JSON. AVRO: a record's value,
    with the number of its schema before it."""

    JSON = "Json"
    AVRO = "Avro"
    ARROW = "Arrow"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a user's topic that the event was: what its columns `kafka_*` hold. Names of headers may repeat.

    `apart`: value, key and headers are more than a letter holds, and stand in that topic alone.
    """

    topic: str
    partition: int
    offset: int
    timestamp_microseconds: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    apart: bool = False


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Whose letter it was first: the topic it stands in, the tool that wrote it, the connector or group that gave up."""

    topic: str
    tool: str
    who: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter. `items` are the failed item ordinals, empty when the unit is the event.

    Times are microseconds since the epoch; `attempt` is 1 for a first letter; every replay adds one. `split_from` is the id
    of the letter of a whole event that was replayed, and of which this row failed. `state` is what the event found of its
    key (core.state.letters), empty without. Of a letter that another tool wrote, log id, partition and offset are those of the
    letter's own record in its topic.
    """

    id: str
    lane: str
    namespace: str
    pipeline: str
    sink: str
    log_id: str
    partition: int
    offset: int
    ordinal: int
    items: tuple[int, ...]
    unit: Unit
    stage: str
    category: Category
    code: str
    message: str
    expression: str
    fingerprint: str
    original: bytes
    original_format: OriginalFormat
    received_at_microseconds: int
    append_time_microseconds: int
    failed_at_microseconds: int
    schema_fingerprint: str
    revision: str
    traceparent: str
    attempt: int
    split_from: str = ""
    state: bytes = b""
    record: Record | None = None
    elsewhere: Elsewhere | None = None

    @property
    def is_apart(self) -> bool:
        """Whether a replay must read the event where it came from."""
        return self.record is not None and self.record.apart

    @property
    def stands_elsewhere(self) -> bool:
        """Whether this letter is a record of somebody else's topic. Second letters are always ours."""
        return self.elsewhere is not None and self.attempt == 1


def letter_id(address: addresses.Address, lane: str, items: Sequence[int], *, block: str = "") -> str:
    """32 hexadecimal digits, the same for ever. `items` alone say which rows; the address's own item is not looked at.

    `block` is the name of the event's block, for a log that has blocks, and stands for the log's id: it stays when a log
    that was put back from a copy gets another id, and what comes into the copy instead of what was lost has other names.
    """
    place = address.position
    return _digest([block or address.log_id, address.partition, place.offset, place.ordinal, sorted(set(items)), lane])


def block_name(producer: str, sequence: int) -> str:
    """Of the block that this producer made as its number `sequence` in its partition; empty where nobody is named."""
    return f"{producer}/{sequence}" if producer else ""


def row_letter_id(whole: str, items: Sequence[int]) -> str:
    """Of rows that failed when the event of the letter `whole` was replayed."""
    return _digest([whole, sorted(set(items))])


def _digest(unit: Sequence[object]) -> str:
    return hashlib.blake2b(msgspec.json.encode(unit), digest_size=16).hexdigest()


# A quote inside a word is an apostrophe; one before a word, inside a quoted value, belongs to the value ('O'Brien').
_VALUES = re.compile(
    r"""(?<!\w)'(?:[^'\\]|\\.|''|'(?=\w))*'(?!\w)"""
    r"""|(?<!\w)"(?:[^"\\]|\\.|""|"(?=\w))*"(?!\w)"""
    r"""|`[^`]*`"""
    r"""|\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{12,}\b"""
    r"""|[-+]?\b\d[\w.:+-]*""",
    re.DOTALL,
)
_FINGERPRINTED_CHARACTERS = 1_000


def fingerprint(category: Category, message: str) -> str:
    """The message with numbers and quoted values taken out, so that one cause has one fingerprint; at most 200 characters."""
    words = " ".join(_VALUES.sub("?", message[:_FINGERPRINTED_CHARACTERS]).split())
    return f"{category.value}: {words}"[:MAX_FINGERPRINT_CHARACTERS]


def collapse(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Equal ids once, as the last of them says, in the order in which the ids first appear."""
    return list({letter.id: letter for letter in letters}.values())
