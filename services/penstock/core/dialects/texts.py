"""Bytes from headers as text and numbers, with errors that name the header and stay short."""

from __future__ import annotations

import re

from penstock.core import deadletters

MAX_BYTES = 10 * deadletters.MAX_TEXT_CHARACTERS
"""What a text of MAX_TEXT_CHARACTERS comes to at most when every character of it is written out: `\\U0001f600`."""
_SHOWN_CHARACTERS = 60
_NUMBER = re.compile(rb"-?[0-9]{1,19}")
_INT64 = 2**63
MAX_MICROSECONDS = 253_402_300_799_999_999
"""The end of the year 9999: times beyond it can't be shown."""


def to_bytes(text: str) -> bytes:
    """At most MAX_TEXT_CHARACTERS of it; what UTF-8 can't hold is written out."""
    return text[: deadletters.MAX_TEXT_CHARACTERS].encode(errors="backslashreplace")


def lenient(value: bytes) -> str:
    """The beginning of what another tool wrote, which need not be UTF-8."""
    return value[: 4 * deadletters.MAX_TEXT_CHARACTERS].decode(errors="backslashreplace")[: deadletters.MAX_TEXT_CHARACTERS]


def shown(value: bytes) -> str:
    """For an error's message."""
    text = ascii(value[:_SHOWN_CHARACTERS].decode(errors="backslashreplace"))
    return text if len(value) <= _SHOWN_CHARACTERS else f"{text}… ({len(value):,} bytes)"


def number(header: str, value: bytes) -> int:
    """A decimal 64-bit number. Raises DeadLetterError."""
    if not _NUMBER.fullmatch(value) or not -_INT64 <= (found := int(value)) < _INT64:
        raise deadletters.DeadLetterError(f"{header}: {shown(value)} is no number of 64 bits")
    return found


def big_endian(header: str, value: bytes, octets: int) -> int:
    """A signed number in so many bytes, the highest first. Raises DeadLetterError."""
    if len(value) != octets:
        raise deadletters.DeadLetterError(f"{header}: {shown(value)} has {len(value):,} bytes and should have {octets}")
    return int.from_bytes(value, "big", signed=True)
