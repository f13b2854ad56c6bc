"""Unquoted YAML values, against what kubectl makes of them."""

from __future__ import annotations

import math

import pytest

from penstock.api.reading import scalars

_MEASURED = [
    ("", None),
    ("~", None),
    ("NULL", None),
    ("nULL", "nULL"),
    ("y", True),
    ("Yes", True),
    ("yEs", "yEs"),
    ("ON", True),
    ("n", False),
    ("off", False),
    ("1", 1),
    ("+5", 5),
    ("-0", 0),
    ("017", 15),
    ("0o17", 15),
    ("08", 8),
    ("0x1F", 31),
    ("+0x1F", 31),
    ("0b11", 3),
    ("-0b1", -1),
    ("1_000", 1000),
    ("1__0", 10),
    ("_1", "_1"),
    ("0x", "0x"),
    ("1:30", "1:30"),
    ("1e3", 1000),
    ("1.0", 1),
    ("5.", 5),
    (".5", 0.5),
    ("1_0.5", 10.5),
    ("1.0.0", "1.0.0"),
    ("12345678901234567890", 12345678901234567890),
    ("2026-01-01", "2026-01-01"),
    ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("=", "="),
]


@pytest.mark.parametrize(("plain", "value"), _MEASURED, ids=[repr(plain) for plain, _ in _MEASURED])
def test_a_value_is_what_kubectl_reads(plain: str, value: object) -> None:
    """Catches any rule of Python's YAML library in place of Go's."""
    found = scalars.resolve(plain)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("plain", [".inf", "-.Inf", ".NaN"])
def test_what_json_can_not_say_is_no_text(plain: str) -> None:
    """Catches an infinity that is taken for a name."""
    assert not math.isfinite(scalars.resolve(plain))


def test_a_number_of_absurd_length_stays_text() -> None:
    """Catches the interpreter's refusal to read an integer of more than 4,300 digits."""
    assert scalars.resolve("9" * 5000) == "9" * 5000


@pytest.mark.parametrize(
    ("plain", "is_date"),
    [("2026-01-31", True), ("2026-1-3", True), ("2026-01-31 08:00", True), ("2026", False), ("a-b-c", False)],
)
def test_dates_are_seen(plain: str, is_date: bool) -> None:
    """Catches a date that other readers would turn into something else."""
    assert scalars.is_date(plain) is is_date
