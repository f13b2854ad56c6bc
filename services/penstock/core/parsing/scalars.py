"""One JSON scalar to one typed value, exactly: what each declared type accepts, and the words when it does not.

Numbers come in as their text (`IntegerToken`, `RealToken`), so nothing is lost before it is judged. The bulk reader must
accept no more than this module does and make the same values; a property test holds the two together.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable

from penstock.core import schema as schemas
from penstock.core.parsing import rejection


class IntegerToken(str):
    """The text of a JSON number without fraction or exponent."""

    __slots__ = ()


class RealToken(str):
    """The text of any other JSON number."""

    __slots__ = ()


_Types = schemas.FieldType
_EPOCH = datetime.datetime(1970, 1, 1)
EARLIEST_MICROSECONDS = -62_135_596_800_000_000
LATEST_MICROSECONDS = 253_402_300_799_999_999
"""The years 1 to 9999: what dates can be shown as everywhere."""

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_WIDEST_DECIMAL = decimal.Context(prec=2_000)
_LONGEST_DECIMAL = 200


def read(value: object, field: schemas.Field, path: str) -> object:
    """The value as pyarrow takes it for the field's Arrow type. Raises RefusedError."""
    reader = _READERS[field.type]
    taken = reader(value, field)
    if taken is None and field.coerce:
        taken = _coerced(value, field)
    if taken is None:
        raise rejection.mismatch(path, f"{describe(value)} is not {_expected(field)}", _remedy(field))
    return taken


def describe(value: object) -> str:
    """The value as the sender wrote it, shortened, with its JSON type."""
    if isinstance(value, (IntegerToken, RealToken)):
        return f"the number {_short(value)}"
    if isinstance(value, str):
        return f'the string "{_short(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return "an array" if isinstance(value, list) else "an object"


def _short(text: str) -> str:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return shown.encode("unicode_escape").decode("ascii") if not shown.isprintable() else shown


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, (IntegerToken, RealToken))


def _string(value: object, field: schemas.Field) -> object:
    return value if _is_text(value) else None


def _boolean(value: object, field: schemas.Field) -> object:
    return value if isinstance(value, bool) else None


def _integer(value: object, field: schemas.Field) -> object:
    return _in_range(value, field) if isinstance(value, IntegerToken) else None


def _in_range(text: str, field: schemas.Field) -> int | None:
    bits = 31 if field.type is _Types.INT32 else 63
    # No 64-bit number has more characters, and Python refuses to read one of thousands of digits.
    number = int(text) if len(text) <= 20 else 1 << 64
    return number if -(1 << bits) <= number < 1 << bits else None


def _float(value: object, field: schemas.Field) -> object:
    if not isinstance(value, (IntegerToken, RealToken)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _decimal(value: object, field: schemas.Field) -> object:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or len(value) > _LONGEST_DECIMAL:
        return None
    number = decimal.Decimal(value)
    if number and number.adjusted() > field.precision:
        return None
    scaled = number.quantize(decimal.Decimal(1).scaleb(-field.scale), context=_WIDEST_DECIMAL)
    fits = len(scaled.as_tuple().digits) <= field.precision if scaled else True
    return scaled if scaled == number and fits else None


def _date(value: object, field: schemas.Field) -> object:
    if not _is_text(value) or not _DATE.fullmatch(str(value)):
        return None
    try:
        return datetime.date.fromisoformat(str(value)).toordinal() - _EPOCH.toordinal()
    except ValueError:
        return None


def _timestamp(value: object, field: schemas.Field) -> object:
    microseconds: int | None
    if field.format is schemas.TimestampFormat.RFC3339:
        microseconds = rfc3339_microseconds(str(value)) if _is_text(value) else None
    else:
        microseconds = _epoch(value, field)
    return microseconds if microseconds is not None and is_showable(microseconds) else None


def is_showable(microseconds: int) -> bool:
    return EARLIEST_MICROSECONDS <= microseconds <= LATEST_MICROSECONDS


def _epoch(value: object, field: schemas.Field) -> int | None:
    if not isinstance(value, IntegerToken) or len(value) > 20:
        return None
    return int(value) * units_to_microseconds(field)


def units_to_microseconds(field: schemas.Field) -> int:
    return 1_000 if field.format is schemas.TimestampFormat.EPOCH_MILLISECONDS else 1_000_000


def rfc3339_microseconds(text: str) -> int | None:
    """Since 1970; digits beyond microseconds are cut off. None when it is no RFC 3339 time."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    *clock, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime.datetime(*map(int, clock))  # type: ignore[arg-type]
    except ValueError:
        return None
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return None
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * (-1 if sign == "-" else 1)
    whole = (moment - _EPOCH) // datetime.timedelta(microseconds=1)
    return whole + int(f"{fraction or 0:0<6}"[:6]) - offset * 60_000_000


def _uuid(value: object, field: schemas.Field) -> object:
    return str(value).lower() if _is_text(value) and _UUID.fullmatch(str(value)) else None


def _bytes(value: object, field: schemas.Field) -> object:
    return base64_bytes(str(value)) if _is_text(value) else None


def base64_bytes(text: str) -> bytes | None:
    """Standard alphabet with padding, nothing else in it."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


_READERS: dict[schemas.FieldType, Callable[[object, schemas.Field], object]] = {
    _Types.STRING: _string,
    _Types.BOOLEAN: _boolean,
    _Types.INT32: _integer,
    _Types.INT64: _integer,
    _Types.FLOAT64: _float,
    _Types.DECIMAL: _decimal,
    _Types.DATE: _date,
    _Types.TIMESTAMP: _timestamp,
    _Types.UUID: _uuid,
    _Types.BYTES: _bytes,
}


def _coerced(value: object, field: schemas.Field) -> object:
    """`coerce: true`: the scalar's text is read as the declared type, where that text says it exactly."""
    if not isinstance(value, (str, bool)):
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if field.type is _Types.STRING:
        return text
    if field.type is _Types.BOOLEAN:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if isinstance(value, bool):
        return None
    return _coerced_text(text, field)


def _coerced_text(text: str, field: schemas.Field) -> object:
    number = _number(text)
    if field.type in (_Types.INT32, _Types.INT64):
        return _in_range(str(int(number)), field) if number is not None and number == number.to_integral_value() else None
    if field.type is _Types.FLOAT64:
        return _float(RealToken(text), field) if number is not None else None
    if field.type is _Types.TIMESTAMP and field.format is not schemas.TimestampFormat.RFC3339 and number is not None:
        microseconds = int((number * units_to_microseconds(field)).to_integral_value())
        return microseconds if is_showable(microseconds) else None
    return _loose_uuid(text) if field.type is _Types.UUID else None


def _number(text: str) -> decimal.Decimal | None:
    if len(text) > _LONGEST_DECIMAL or not _DECIMAL.fullmatch(text):
        return None
    number = decimal.Decimal(text)
    return number if number.adjusted() < 400 else None


def _loose_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


_EXPECTED = {
    _Types.STRING: "a string",
    _Types.BOOLEAN: "true or false",
    _Types.INT32: "a whole number of 32 bits",
    _Types.INT64: "a whole number of 64 bits",
    _Types.FLOAT64: "a number a double can hold",
    _Types.DATE: "a date such as 2026-01-31",
    _Types.UUID: "a UUID such as 6f1c2d3e-0000-4000-8000-00000000abcd",
    _Types.BYTES: "base64 text",
    _Types.LIST: "an array",
    _Types.STRUCT: "an object",
}
_EXPECTED_TIME = {
    schemas.TimestampFormat.RFC3339: "an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z",
    schemas.TimestampFormat.EPOCH_MILLISECONDS: "a whole number of milliseconds since 1970",
    schemas.TimestampFormat.EPOCH_SECONDS: "a whole number of seconds since 1970",
}


def _expected(field: schemas.Field) -> str:
    if field.type is _Types.DECIMAL:
        return f"a decimal of at most {field.precision} digits, {field.scale} of them after the point"
    return _EXPECTED_TIME[field.format] if field.type is _Types.TIMESTAMP else _EXPECTED[field.type]


def _remedy(field: schemas.Field) -> str:
    advice = "" if field.coerce or field.type in (_Types.DATE, _Types.BYTES) else ", or set coerce: true on the field"
    return f"send {_expected(field)}{advice}"


def not_a(value: object, field: schemas.Field, path: str) -> rejection.RefusedError:
    """The refusal of something that should have been an array or an object."""
    return rejection.mismatch(path, f"{describe(value)} is not {_EXPECTED[field.type]}", f"send {_EXPECTED[field.type]}")
