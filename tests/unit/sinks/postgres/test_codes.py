"""The table of SQLSTATEs: whose fault, and what a letter says."""

import asyncpg
import pytest

from penstock.core import results
from penstock.sinks.postgres import codes


def raised(sqlstate, message="no", **fields):
    """The client's error for an answer of the server."""
    return asyncpg.PostgresError.new({"C": sqlstate, "M": message, "S": "ERROR", **fields})


@pytest.mark.parametrize(
    ("sqlstates", "expected"),
    [
        (["22001", "22003", "22P02", "22021", "23502", "23503", "23505", "23514", "44000", "54000"], "Data"),
        (["08000", "08006", "57P01", "57P02", "57P03", "57014", "53000", "53100", "58030", "25006", "25P03"], "Outage"),
        (["28000", "28P01"], "Outage"),
        (["53300", "40001", "40P01", "55P03"], "Pressure"),
        (["3D000", "3F000", "42501", "42P01", "42703", "42804", "0A000", "57P04"], "Config"),
        (["P0001", "XX000", "XX001", "21000", "", "00000", "F0000", "2"], "Unclassified"),
    ],
)
def test_each_code_has_its_class(sqlstates, expected):
    """Catches a short prefix that wins over a longer one, and a code nobody thought of taken for data."""
    assert {code: codes.rule(code)[0].value for code in sqlstates} == dict.fromkeys(sqlstates, expected)


def test_every_config_rule_says_what_to_do():
    """Catches a lane that halts without a way out."""
    assert all(remedy for kind, remedy in codes.CLASSES.values() if kind is results.ResultClass.CONFIG)


def test_rejected_credentials_have_the_word_the_status_looks_for():
    """Catches a lane whose condition is not CredentialsRejected."""
    assert codes.sink_error("h:1/d", raised("28P01")).failure.code == "CREDENTIALS_REJECTED"


def test_a_data_code_that_no_row_has_caused_is_a_setting():
    """Catches rows dead-lettered because the server does not like what a connection starts with."""
    failure = codes.sink_error("h:1/d", raised("22023")).failure
    assert failure.result_class is results.ResultClass.CONFIG
    assert failure.remedy


@pytest.mark.parametrize(
    ("context", "row"),
    [
        ("COPY _penstock_staging, line 1, column v", 0),
        ('JSON data, line 1: {no\nCOPY _penstock_staging, line 17, column "v"', 16),
        ("COPY _penstock_staging, line 4", 3),
        ("PL/pgSQL function hook() line 3 at RAISE", None),
        (None, None),
    ],
)
def test_the_line_of_a_copy_is_the_row(context, row):
    """Catches the line of a JSON document or of a trigger taken for the row's, and rows counted from 1."""
    assert codes.refused_line(raised("22P02", W=context) if context else raised("22P02")) == row


def test_a_letter_names_the_column_and_not_the_row():
    """Catches causes that can't be grouped because each message holds its row."""
    broken = raised("23514", 'violates "c"', D="Failing row contains (1, secret).")
    assert codes.message(broken) == 'violates "c"'
    invalid = raised(
        "22P02", "invalid input syntax for type json", D='Token "no" is invalid.', W='COPY s, line 1, column v: "{no"'
    )
    assert codes.message(invalid) == 'column "v": invalid input syntax for type json (Token "no" is invalid.)'
    assert len(codes.message(raised("22P02", "x" * 9_999))) == 500
