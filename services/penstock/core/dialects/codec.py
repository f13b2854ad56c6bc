"""One letter to a record and back, whichever dialect it is in.

A record says by its headers which dialect it is in, so a topic may hold several. What Penstock wrote comes back whole from
each of them; what other tools wrote comes back as far as they tell. See docs/dead-letters.md for the headers.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from penstock.core import deadletters
from penstock.core.dialects import foreign, native, rest


class Dialect(enum.Enum):
    """KAFKA is what brokers write for share groups; what Kafka Streams writes is read as the same dialect."""

    PENSTOCK = "Penstock"
    CONNECT = "Connect"
    KAFKA = "Kafka"
    SPRING = "Spring"


TOOLS = {Dialect.CONNECT: ("connect",), Dialect.KAFKA: ("kafka", "streams"), Dialect.SPRING: ("spring",), Dialect.PENSTOCK: ()}
"""Whose headers a dialect means, by the names of their layouts."""

_FOREIGN = {Dialect.CONNECT: foreign.connect, Dialect.KAFKA: foreign.kafka, Dialect.SPRING: foreign.spring}


def encode(letter: deadletters.DeadLetter, dialect: Dialect = Dialect.PENSTOCK) -> tuple[bytes, dict[str, bytes]]:
    """The record's value, which is the original, and its headers. Never fails: long texts are cut, odd characters escaped."""
    if dialect is Dialect.PENSTOCK:
        return letter.original, native.encode(letter)
    return letter.original, {**_FOREIGN[dialect](letter), rest.HEADER: rest.encode(letter)}


def is_ours(headers: Mapping[str, bytes]) -> bool:
    """Whether Penstock wrote this letter, in whichever dialect."""
    return rest.HEADER in headers or native.VERSION_HEADER in headers


def decode(value: bytes, headers: Mapping[str, bytes], *, stamped_microseconds: int = 0) -> deadletters.DeadLetter:
    """The inverse of `encode`. `stamped_microseconds` is the record's own time: when another tool's letter failed.

    Raises DeadLetterError, which names the header.
    """
    if rest.HEADER in headers:
        return rest.decode(value, headers[rest.HEADER], foreign.message(headers))
    layout = None if native.VERSION_HEADER in headers else foreign.layout_of(headers)
    if layout is None:
        return native.decode(value, headers)
    return foreign.decode(layout, value, headers, stamped_microseconds)


def last_of(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """Kafka's headers, where names repeat and values may be null, as a mapping: of equal names the last that has a value."""
    return {name: value for name, value in headers if value is not None}
