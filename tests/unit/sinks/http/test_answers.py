"""What an endpoint's answer means."""

import datetime

import hypothesis
import pytest
from hypothesis import strategies as st

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.http import answers

NOW = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.UTC)
CODES = answers.Codes(data=frozenset({400, 409, 422}), split=frozenset({413}))


def answer(status, body="", **headers):
    return answers.Answer(place="https://hook", status=status, headers=headers, body=body)


def failure(told):
    with pytest.raises(port.SinkError) as caught:
        answers.refusal(told, CODES, NOW)
    return caught.value.failure


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_success_is_one(status):
    """Catches a 202 or 204 that is sent again for ever."""
    assert answers.refusal(answer(status), CODES, NOW) is None


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_an_answer_about_the_rows_is_no_failure_of_the_endpoint(status):
    """Catches a bad row that opens the circuit, and with it stops its neighbours."""
    refused = answers.refusal(answer(status, "email is missing"), CODES, NOW)
    assert (refused.code, refused.message.endswith(": email is missing")) == (f"HTTP_{status}", True)


@pytest.mark.parametrize(
    ("status", "result_class", "code"),
    [
        (101, "OUTAGE", "HTTP_101"),
        (301, "CONFIG", "REDIRECTED"),
        (308, "CONFIG", "REDIRECTED"),
        (401, "OUTAGE", "CREDENTIALS_REJECTED"),
        (403, "OUTAGE", "CREDENTIALS_REJECTED"),
        (404, "OUTAGE", "HTTP_404"),
        (429, "OUTAGE", "HTTP_429"),
        (500, "OUTAGE", "HTTP_500"),
        (503, "OUTAGE", "HTTP_503"),
        (799, "OUTAGE", "HTTP_799"),
    ],
)
def test_every_other_answer_says_nothing_about_the_rows(status, result_class, code):
    """Catches an expired token, a wrong path or an overload that makes dead letters of good rows."""
    told = failure(answer(status, "sorry"))
    assert (told.result_class, told.code) == (results.ResultClass[result_class], code)
    assert "https://hook answered" in told.message
    assert "sorry" in told.message


def test_the_owners_word_on_a_status_goes_before_ours():
    """Catches a list of statuses that is read and then ignored."""
    codes = answers.Codes(data=frozenset({403}), split=frozenset())
    assert answers.refusal(answer(403), codes, NOW) is not None
    with pytest.raises(port.SinkError):
        answers.refusal(answer(400), codes, NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 13:00:30 +0100", 30.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 86_400.0),
        ("9" * 5_000, 86_400.0),
        ("", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("\uff11\uff12", 0.0),
        ("nan", 0.0),
    ],
)
def test_advice_to_wait_is_understood_in_both_forms_and_bounded(value, seconds):
    """Catches seconds taken for milliseconds, a date in another zone, and advice that stops a lane for a year."""
    assert answers.retry_after_seconds(value, NOW) == seconds
    assert failure(answer(503, **{"Retry-After": value})).retry_after_seconds == seconds


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{0,8}( [A-Z+0-9-]*)?"))
def test_no_advice_makes_trouble(value):
    """Catches an exception, or an infinity, from a header that the endpoint chooses."""
    assert 0.0 <= answers.retry_after_seconds(value, NOW) <= 86_400.0


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.text(max_size=2_000), st.from_regex(r"[A-Za-z0-9._-]{4,20}", fullmatch=True))
def test_what_is_quoted_is_one_short_line_without_the_secret(text, secret):
    """Catches a secret that the endpoint sends back, a message of megabytes, and one that rewrites a terminal."""
    line = answers.quoted(f"{text}{secret}{text}", [secret])
    assert len(line) <= answers.QUOTED_CHARACTERS
    assert line.isprintable()
    assert secret not in line


def test_a_word_of_a_secret_is_a_secret_too():
    """Catches an endpoint that quotes the token without the word before it."""
    assert answers.quoted("token s3cr3t-token is expired", ["Bearer s3cr3t-token"]) == "token *** is expired"
