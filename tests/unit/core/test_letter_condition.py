"""SQL over what dead letters say of themselves: what it may speak of, what it chooses, and how it fails."""

from __future__ import annotations

import pytest
from tests.unit.cli.test_dlq import START, letter

from penstock.core import deadletters, letter_condition, selection

RECORD = deadletters.Record(topic="orders", partition=3, offset=17, timestamp_microseconds=5, key=b"k")


@pytest.mark.parametrize(
    ("sql", "admitted"),
    [
        ("error_message LIKE '%parse%' AND attempt = 0", True),
        ("category IN ('Malformed', 'TransformFailed')", True),
        ("category = 'Malformed' OR sink = 'archive'", False),
        ("kafka_topic = 'orders' AND kafka_partition = 3 AND kafka_offset BETWEEN 10 AND 20", True),
        ("decode(kafka_key) = 'k'", True),
        ("failed_at >= TIMESTAMPTZ '2000-01-01 00:00:00+00' AND failed_at < TIMESTAMPTZ '2100-01-01 00:00:00+00'", True),
        ("len(items) > 100", False),
        ("log_partition = 0 AND log_offset >= 0", True),
        ("CAST(NULL AS BOOLEAN)", False),
    ],
    ids=str,
)
def test_a_condition_chooses_by_what_a_letter_says(sql: str, admitted: bool) -> None:
    """Catches a column under another name or type, and NULL taken for true."""
    one = letter(1, record=RECORD, failed_at_microseconds=START, partition=0)
    assert letter_condition.Condition(sql).admits([one]) == [admitted]


def test_without_a_record_there_is_nothing_of_one() -> None:
    """Catches a letter of our own log that breaks a condition about records."""
    assert letter_condition.Condition("kafka_topic IS NULL AND kafka_key IS NULL").admits([letter(1)]) == [True]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("error_mesage = 'x'", 'did you mean "error_message"?'),
        ("original LIKE '%x%'", "without reading their events"),
        ("attempt + 1", "is BIGINT, not BOOLEAN"),
        ("error_code =", "is not SQL"),
        ("(SELECT true)", "holds a query of its own"),
        ("read_text('/etc/passwd') = ''", "uses read_text"),
        ("failed_at > now()", "uses now, which can't be used here"),
        ("true, false", "is not one expression"),
    ],
    ids=str,
)
def test_what_can_not_be_a_condition_is_refused_by_name(sql: str, said: str) -> None:
    """Catches a condition that reaches the machine, and an error that does not name the field and what was written."""
    with pytest.raises(letter_condition.ConditionError) as caught:
        letter_condition.Condition(sql).check()
    assert said in str(caught.value)
    assert caught.value.problems[0].field == "spec.select.where"
    assert caught.value.problems[0].value == sql


def test_a_condition_that_fails_on_a_letter_names_it() -> None:
    """Catches a letter that is left out without a word, and one that is blamed for its neighbour."""
    those = [letter(number, message=text) for number, text in enumerate(("1", "2", "x"), 1)]
    condition = letter_condition.Condition("CAST(error_message AS BIGINT) > 1")
    with pytest.raises(letter_condition.ConditionError) as caught:
        condition.admits(those)
    assert those[2].id in str(caught.value)
    assert "TRY_CAST" in str(caught.value)
    assert condition.admits(those[:2]) == [False, True]


def test_only_what_the_other_filters_admit_is_asked_about() -> None:
    """Catches a condition that fails over letters nobody meant, and answers given to the wrong letters."""
    those = [letter(number, message=str(number)) for number in range(5)]
    those[2] = letter(2, message="x", category=deadletters.Category.MALFORMED)
    filters = selection.Filters(
        categories=frozenset({those[0].category.value}),
        where=letter_condition.Condition("CAST(error_message AS BIGINT) > 2"),
    )
    assert filters.admit(those) == [False, False, False, True, True]
