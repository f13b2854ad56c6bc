"""Which values a DuckDB column takes without changing what they mean.

DuckDB itself casts almost anything on insert and rounds on the way. Here a pair of types is either the same, or lossless,
or text that the store parses row by row; everything else is a mismatch that a person settles with a cast.
"""

from __future__ import annotations

import duckdb.sqltypes

Type = duckdb.sqltypes.DuckDBPyType

_WHOLE = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint")
)
_BINARY_FRACTIONS = frozenset(("float", "double"))
_TIMES = frozenset(("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"))
_MEMBERED = frozenset(("list", "struct", "map"))
_NESTED = _MEMBERED | {"array", "union"}


def accepts(column: Type, value: Type) -> bool:
    """Whether a column of type `column` may be fed values of type `value`; single values may still be refused."""
    if str(column) == str(value):
        return True
    if column.id == value.id and value.id in _MEMBERED:
        return _accepts_nested(column, value)
    return _accepts_scalar(column, value)


def _accepts_scalar(column: Type, value: Type) -> bool:
    to, of = column.id, value.id
    if to in _NESTED or of in _NESTED or "blob" in (to, of):
        return False
    if "varchar" in (to, of):
        return True
    if of in _WHOLE:
        return to in _WHOLE or to in _BINARY_FRACTIONS or to == "decimal"
    if of in _BINARY_FRACTIONS:
        return to in _BINARY_FRACTIONS
    if of == "decimal":
        return to in _BINARY_FRACTIONS or (to == "decimal" and _scale(column) >= _scale(value))
    return to in _TIMES and (of in _TIMES or of == "date")


def _accepts_nested(column: Type, value: Type) -> bool:
    columns, values = _members(column), _members(value)
    return columns.keys() == values.keys() and all(accepts(columns[name], values[name]) for name in values)


def _scale(decimal: Type) -> int:
    return next(child for name, child in decimal.children if name == "scale" and isinstance(child, int))


def _members(nested: Type) -> dict[str, Type]:
    return {name: child for name, child in nested.children if isinstance(child, Type)}
