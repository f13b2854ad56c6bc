"""What other dialects have no header for: one header with all fields but the original and the message, as JSON."""

from __future__ import annotations

import operator

import msgspec

from penstock.core import deadletters
from penstock.core.dialects import native, texts

HEADER = "penstock-dead-letter"
VERSION = 1

_NAMES = tuple(name for name in deadletters.DeadLetter.__struct_fields__ if name not in ("original", "message"))
_values = operator.attrgetter(*_NAMES)


def encode(letter: deadletters.DeadLetter) -> bytes:
    fields = {"version": VERSION, **dict(zip(_NAMES, _values(letter), strict=True))}
    for name, value in fields.items():
        if isinstance(value, str) and (len(value) > deadletters.MAX_TEXT_CHARACTERS or not value.isascii()):
            fields[name] = texts.to_bytes(value).decode()
    return msgspec.json.encode(fields)


def decode(value: bytes, header: bytes, message: str) -> deadletters.DeadLetter:
    """Raises DeadLetterError."""
    try:
        fields = msgspec.json.decode(header, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise deadletters.DeadLetterError(f"{HEADER}: {texts.shown(header)} is no JSON object") from error
    if fields.get("version") != VERSION:
        raise deadletters.DeadLetterError(f"{HEADER}: this release reads version {VERSION}")
    try:
        return native.checked({**fields, "original": value, "message": message})
    except deadletters.DeadLetterError as error:
        raise deadletters.DeadLetterError(f"{HEADER}: {error}") from error
