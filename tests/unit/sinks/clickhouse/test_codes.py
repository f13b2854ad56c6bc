"""Error codes: each in one class, and what decides between two meanings of one code. Their names: the integration test."""

from __future__ import annotations

import itertools

import pytest

from penstock.core import results
from penstock.sinks.clickhouse import codes

_Class = results.ResultClass


def test_no_code_is_in_two_classes() -> None:
    """Catches a code whose class depends on the order of the table."""
    for one, other in itertools.combinations(codes.NAMES.values(), 2):
        assert not one.keys() & other.keys()


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (6, "", (_Class.DATA, "CANNOT_PARSE_TEXT")),
        (60, "", (_Class.CONFIG, "UNKNOWN_TABLE")),
        (201, "", (_Class.CONFIG, "QUOTA_EXCEEDED")),
        (252, "Too many parts (300)", (_Class.PRESSURE, "TOO_MANY_PARTS")),
        (252, "Too many partitions for single INSERT block (more than 100)", (_Class.CONFIG, "TOO_MANY_PARTITIONS")),
        (241, "", (_Class.PRESSURE, "MEMORY_LIMIT_EXCEEDED")),
        (516, "", (_Class.OUTAGE, "CREDENTIALS_REJECTED")),
        (159, "", (_Class.OUTAGE, "TIMEOUT_EXCEEDED")),
        (12345, "", (_Class.UNCLASSIFIED, "CODE_12345")),
    ],
)
def test_what_a_code_means(code: int, message: str, expected: tuple[results.ResultClass, str]) -> None:
    """Catches rows that are dead-lettered for the server's trouble, and a halt for what goes away by itself."""
    failure = codes.failure(code, message)
    assert (failure.result_class, failure.code) == expected


@pytest.mark.parametrize(
    ("header", "text", "code"),
    [("60", "Code: 6. x", 60), ("", "Code: 516. DB::Exception", 516), ("x", "nothing", 0), ("", "", 0), ("", "Code: 60x", 0)],
)
def test_where_the_code_is_found(header: str, text: str, code: int) -> None:
    """Catches an answer of a proxy being read as the server's."""
    assert codes.code_of(header, text) == code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (503, _Class.OUTAGE),
        (429, _Class.OUTAGE),
        (401, _Class.OUTAGE),
        (404, _Class.CONFIG),
        (302, _Class.CONFIG),
        (418, _Class.UNCLASSIFIED),
    ],
)
def test_an_answer_without_a_code_is_somebody_else_s(status: int, kind: results.ResultClass) -> None:
    """Catches a gateway's error page being taken for a refusal of the rows."""
    assert codes.failure_of_status(status, "").result_class is kind


_OF_ANOTHER = "Constraint `c` for table db.other is violated at row 2. Expression: (s = ''). Column values: s ="


@pytest.mark.parametrize(
    ("message", "row"),
    [
        ("Constraint `c` for table db.x (70951574-a9f7-4fc0-b760-9e2f0125265a) is violated at row 2. Expression: (v >= 0)", 1),
        ("Constraint `c` for table db.x is violated at row 12. Expression: (v >= 0). Column values: v = -1.", 11),
        ("Constraint `c` for table db.other is violated at row 2. Expression: (v >= 0).", None),
        (f"{_OF_ANOTHER} for table db.x is violated at row 5. Expression: ", None),
        ("Constraint `c` for table db.x expression returned a nullable", None),
    ],
)
def test_a_row_is_taken_from_the_servers_own_words_about_this_table(message: str, row: int | None) -> None:
    """Catches the row beside it given up, and a row of another table, or one that an event's own text names."""
    failure = codes.failure(469, f"Code: 469. DB::Exception: {message}")
    assert codes.violating_row(failure, "`db`.`x`") == row
    assert codes.violating_row(codes.failure(6, message), "`db`.`x`") is None
