"""The Penstock dialect: one header per field, all of them text."""

from __future__ import annotations

import base64
import enum
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.core import deadletters
from penstock.core.dialects import texts

VERSION = 1
_PREFIX = "penstock.dead-letter."
VERSION_HEADER = _PREFIX + "version"
HEADERS = {name: _PREFIX + name.replace("_", "-") for name in deadletters.DeadLetter.__struct_fields__ if name != "original"}
_VERSION = b"%d" % VERSION
_LATER = {"split_from": "", "state": b"", "record": None, "elsewhere": None}
"""Fields that the first letters did not have, with what stands for nothing; then there is no header."""
_INTEGERS = frozenset(field.name for field in msgspec.structs.fields(deadletters.DeadLetter) if field.type is int)
_JSON = frozenset({"items", "record", "elsewhere"})
_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)


def encode(letter: deadletters.DeadLetter) -> dict[str, bytes]:
    headers = {VERSION_HEADER: _VERSION}
    for name, header in HEADERS.items():
        value = getattr(letter, name)
        if name not in _LATER or value != _LATER[name]:
            headers[header] = _to_bytes(value)
    return headers


def decode(value: bytes, headers: Mapping[str, bytes]) -> deadletters.DeadLetter:
    """Raises DeadLetterError."""
    found = headers.get(VERSION_HEADER)
    if found is None:
        raise deadletters.DeadLetterError(f"{VERSION_HEADER}: missing, and no header of another dialect is there")
    if found != _VERSION:
        raise deadletters.DeadLetterError(f"{VERSION_HEADER}: found {texts.shown(found)}, this release reads {VERSION}")
    if missing := [header for name, header in HEADERS.items() if header not in headers and name not in _LATER]:
        raise deadletters.DeadLetterError(f"{missing[0]}: missing")
    fields: dict[str, object] = {"original": value}
    for name, header in HEADERS.items():
        if header in headers:
            fields[name] = _from_bytes(name, header, headers[header])
    return checked(fields)


def checked(fields: Mapping[str, object]) -> deadletters.DeadLetter:
    """Raises DeadLetterError for a value that a letter can't hold."""
    try:
        letter = msgspec.convert(fields, deadletters.DeadLetter, strict=False)
    except _FAULTS as error:
        raise deadletters.DeadLetterError(_named(str(error))) from error
    for name in _INTEGERS:
        most = texts.MAX_MICROSECONDS if name.endswith("_microseconds") else 2**63 - 1
        if not -1 <= getattr(letter, name) <= most:
            raise deadletters.DeadLetterError(f"{HEADERS[name]}: out of range")
    for name, numbers in _inner(letter):
        if not all(-1 <= number < 2**63 for number in numbers):
            raise deadletters.DeadLetterError(f"{HEADERS[name]}: out of range")
    return letter


def _inner(letter: deadletters.DeadLetter) -> Iterator[tuple[str, Sequence[int]]]:
    """Numbers within the fields. The time of a record is whatever its producer wrote."""
    yield "items", letter.items
    if letter.record:
        yield "record", (letter.record.partition, letter.record.offset)


def _named(error: str) -> str:
    """msgspec ends its messages with the place, such as `$.category`."""
    reason, _, place = error.partition(" - at `$.")
    name = place.rstrip("`").partition("[")[0]
    return f"{HEADERS.get(name, 'a dead letter')}: {reason[:200]}"


def _to_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return texts.to_bytes(value)
    if isinstance(value, enum.Enum):
        return str(value.value).encode()
    if isinstance(value, bytes):
        return base64.b64encode(value)
    return msgspec.json.encode(value)


def _from_bytes(name: str, header: str, value: bytes) -> object:
    if len(value) > texts.MAX_BYTES and name != "record":
        raise deadletters.DeadLetterError(f"{header}: {texts.shown(value)} is longer than any that is written")
    try:
        if name in _INTEGERS:
            return texts.number(header, value)
        return msgspec.json.decode(value) if name in _JSON else value.decode()
    except UnicodeDecodeError as error:
        raise deadletters.DeadLetterError(f"{header}: {texts.shown(value)} is not UTF-8") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise deadletters.DeadLetterError(f"{header}: {texts.shown(value)} is no JSON") from error
