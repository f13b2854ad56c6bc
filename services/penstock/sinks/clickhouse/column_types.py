"""Penstock's types and ClickHouse's: which column a new table gets, and what an existing one takes without changing it.

Pure. The server casts almost anything on insert and wraps or cuts off on the way, silently: 2^40 becomes 0 in an Int32.
Here a pair of types is the same, lossless, or text that the server parses row by row and refuses where it can't; everything
else is a mismatch that a person settles with a cast. Text that is no number becomes NULL in a Nullable column of numbers, so
that is a mismatch too. A time is the exception: a column of seconds is asked for seconds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

import pyarrow as pa

_SIGNED = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64, "Int128": 128, "Int256": 256}
_UNSIGNED = {f"U{name}": bits for name, bits in _SIGNED.items()}
_FLOAT_BITS = {"Float32": 24, "Float64": 53}
"""Whole numbers of so many bits are exact in it."""
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_DECIMAL_DIGITS = {"Decimal32": 9, "Decimal64": 18, "Decimal128": 38, "Decimal256": 76}
_TIMES = frozenset({"DateTime", "DateTime32", "DateTime64", "Date", "Date32"})
_HIDDEN = frozenset({"Nullable", "LowCardinality", "SimpleAggregateFunction"})
_WITHOUT_NULL = frozenset({"Array", "Map", "Nested"})
_TEXTS = frozenset({"String", "Enum8", "Enum16", "JSON", "Object", "Bool"})
"""What takes text, or refuses it with an error."""
CHECKED = frozenset({"UUID", "FixedString"})
"""Taken as NULL where they are Nullable and the text is none of theirs; `unfit` looks at it first."""
_PARSED = frozenset({"IPv4", "IPv6", "Decimal", "Decimal32", "Decimal64", "Decimal128", "Decimal256"})
_PARSED |= _TIMES | _SIGNED.keys() | _UNSIGNED.keys() | _FLOAT_BITS.keys()
"""The same, and nothing looks at it: only without Nullable."""
_WORD = re.compile(r"\s*(`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'|[^\s(),`']+|[(),])")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type as the server writes it: its name, and what stands in its brackets. `label` names a tuple's member."""

    name: str
    inner: tuple[Type, ...] = ()
    label: str = ""

    @property
    def nullable(self) -> bool:
        """Whether NULL stays NULL in it."""
        return self.name in {"Nullable", "Dynamic", "Variant"} or (self.name == "LowCardinality" and self.inner[0].nullable)

    @property
    def plain(self) -> Type:
        """Without what says how it is kept."""
        if self.name in _HIDDEN and self.inner:
            return self.inner[-1].plain
        return self


def parse(text: str) -> Type:
    """`LowCardinality(Nullable(String))` and the like. What can't be read is one opaque word, which takes nothing but itself."""
    words = list(_WORD.findall(text))
    try:
        found, rest = _read(words)
    except IndexError:
        return Type(name=text)
    return found if not rest else Type(name=text)


def _read(words: list[str]) -> tuple[Type, list[str]]:
    label, name, rest = "", words[0], words[1:]
    if rest and rest[0] not in "(),":
        label, name, rest = _unquoted(name), rest[0], rest[1:]
    inner: list[Type] = []
    if rest and rest[0] == "(":
        rest = rest[1:]
        while rest[0] != ")":
            one, rest = _read(rest)
            while rest[0] not in ",)":  # `'a' = 1` of an Enum
                rest = rest[1:]
            inner.append(one)
            rest = rest[1:] if rest[0] == "," else rest
        rest = rest[1:]
    return Type(name=name, inner=tuple(inner), label=label), rest


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name


def created(type_: pa.DataType, *, nullable: bool = True) -> str | None:
    """The type of a new column for such values; None where there is none."""
    plain = _created_plain(type_)
    if plain is None or not nullable or plain.startswith("Array("):
        return plain
    # A NULL tuple needs a setting of the session that creates the table; a tuple of NULLs does not.
    return plain if plain.startswith("Tuple(") else f"Nullable({plain})"


def _created_plain(type_: pa.DataType) -> str | None:
    if pa.types.is_decimal(type_):
        return f"Decimal({type_.precision}, {type_.scale})"
    if pa.types.is_timestamp(type_):
        return f"DateTime64({_TIME_DIGITS[type_.unit]}, 'UTC')"
    if _is_list(type_):
        inner = created(type_.value_type)
        return f"Array({inner})" if inner else None
    if pa.types.is_struct(type_):
        members = {type_.field(at).name: created(type_.field(at).type) for at in range(type_.num_fields)}
        if not members or None in members.values():
            return None
        return f"Tuple({', '.join(f'{quoted(name)} {inner}' for name, inner in members.items())})"
    return next((name for test, name in _CREATED if test(type_)), None)


_TIME_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}

_CREATED = (
    (pa.types.is_boolean, "Bool"),
    (pa.types.is_int8, "Int8"),
    (pa.types.is_int16, "Int16"),
    (pa.types.is_int32, "Int32"),
    (pa.types.is_int64, "Int64"),
    (pa.types.is_uint8, "UInt8"),
    (pa.types.is_uint16, "UInt16"),
    (pa.types.is_uint32, "UInt32"),
    (pa.types.is_uint64, "UInt64"),
    (pa.types.is_float32, "Float32"),
    (pa.types.is_float64, "Float64"),
    (pa.types.is_date32, "Date32"),
    (lambda kind: _is_text(kind) or _is_bytes(kind), "String"),
)


def quoted(name: str) -> str:
    """An identifier for SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def accepts(column: Type, type_: pa.DataType, *, nested: bool = False) -> bool:
    """Whether such values can go into the column; single ones may still be refused."""
    to = column.plain
    if to.name in {"Dynamic"}:
        return not pa.types.is_nested(type_)
    if _is_list(type_):
        return to.name == "Array" and accepts(to.inner[0], type_.value_type, nested=True)
    if pa.types.is_struct(type_):
        return to.name == "Tuple" and _accepts_members(to, type_)
    if _is_text(type_):
        checked = to.name in CHECKED and not (nested and column.nullable)
        return to.name in _TEXTS or checked or (to.name in _PARSED and not column.nullable)
    if _is_bytes(type_):
        return to.name in {"String", "FixedString"}
    return _accepts_number(to, type_)


def _accepts_members(to: Type, type_: pa.StructType) -> bool:
    members: Mapping[str, Type] = {one.label: one for one in to.inner}
    sent = {type_.field(at).name: type_.field(at).type for at in range(type_.num_fields)}
    return members.keys() == sent.keys() and all(accepts(members[name], inner, nested=True) for name, inner in sent.items())


def _accepts_number(to: Type, type_: pa.DataType) -> bool:
    if to.name == "String":
        return True
    if pa.types.is_boolean(type_):
        return to.name in {"Bool", "UInt8"}
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return to.name in _TIMES
    if pa.types.is_decimal(type_):
        return _holds_decimal(to, type_.precision - type_.scale, type_.scale)
    if pa.types.is_floating(type_):
        return to.name in _FLOAT_BITS and _FLOAT_BITS[to.name] >= (24 if type_.bit_width <= 32 else 53)
    return pa.types.is_integer(type_) and _holds_integer(to, type_)


def _holds_integer(to: Type, type_: pa.DataType) -> bool:
    bits, signed = type_.bit_width, pa.types.is_signed_integer(type_)
    if to.name in _FLOAT_BITS:
        return bool(bits <= _FLOAT_BITS[to.name])
    if to.name.startswith("Decimal"):
        return _holds_decimal(to, _DIGITS[bits], 0)
    if to.name in _UNSIGNED:
        return not signed and _UNSIGNED[to.name] >= bits
    return bool(_SIGNED.get(to.name, 0) >= (bits if signed else bits + 1))


def _holds_decimal(to: Type, whole: int, scale: int) -> bool:
    if not to.name.startswith("Decimal") or not to.inner:
        return False
    numbers = list(_numbers(to))
    digits, own = (_DECIMAL_DIGITS[to.name], numbers[0]) if to.name in _DECIMAL_DIGITS else (numbers[0], (*numbers, 0)[1])
    return own >= scale and digits - own >= whole


def _numbers(of: Type) -> Iterator[int]:
    for one in of.inner:
        yield int(one.name)


def takes_null(column: Type) -> bool:
    """Whether a NULL can be inserted: an array takes it as an empty one."""
    return column.nullable or column.plain.name in _WITHOUT_NULL


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_))
