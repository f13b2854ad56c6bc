"""What an unquoted YAML value is, as kubectl reads it.

Measured with `kubectl annotate --local`: `y` and `on` are true, `017` is 15, `1_000` is 1000, `1e3` is the integer 1000,
`1:30` and `2026-01-31` are text. Python's own YAML library differs in each of these.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_MAX_DIGITS: Final = 40
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSES: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*|0)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_WORDS: Final = frozenset({".inf", "-.inf", "+.inf", ".nan"})
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")


def resolve(plain: str) -> Any:
    """None, a boolean, a number, or the text itself. A float without a fraction is an integer, as in JSON."""
    if plain in _NULLS:
        return None
    if plain in _TRUES or plain in _FALSES:
        return plain in _TRUES
    if plain.lower() in _NUMBER_WORDS:
        return float(plain.replace(".", "", 1))
    digits = plain.replace("_", "")
    if plain.startswith("_") or len(digits) > _MAX_DIGITS:
        return plain
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return int(number) if math.isfinite(number) and number.is_integer() else number
    return plain


def is_date(plain: str) -> bool:
    """Whether other YAML readers than kubectl's make a date of it."""
    return _DATE.fullmatch(plain) is not None


def spoken(value: object) -> str:
    """A value that isn't text, in the words of an error."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else f"the number {value}"


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    is_old_octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1] in "01234567"
    number = int(unsigned, 8) if is_old_octal else int(unsigned, 0)
    return -number if digits.startswith("-") else number
