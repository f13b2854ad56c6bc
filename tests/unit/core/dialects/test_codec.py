"""Dead letters in the four dialects: ours come back whole, and nothing a header holds gets out as anything but our error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.dialects import letters

from penstock.core import deadletters, dialects

_all = pytest.mark.parametrize("dialect", dialects.Dialect, ids=lambda dialect: dialect.value)
_NAMES = sorted({name for dialect in dialects.Dialect for name in dialects.encode(letters.letter(), dialect)[1]})


@given(letters.any_letter, st.sampled_from(dialects.Dialect))
@settings(max_examples=200)
def test_a_letter_comes_back_as_it_was_written(written: deadletters.DeadLetter, dialect: dialects.Dialect) -> None:
    """Catches a field that a dialect does not keep, and bytes of the original that are touched."""
    value, headers = dialects.encode(written, dialect)
    assert value == written.original
    assert dialects.decode(value, headers) == written


@_all
def test_a_letter_can_be_written_whatever_the_store_said(dialect: dialects.Dialect) -> None:
    """Catches a lane that stops because a text is too long for a header or holds half a character."""
    written = letters.letter(message="\ud800" + "x" * 10**6, code="\udfff")
    value, headers = dialects.encode(written, dialect)
    assert max(map(len, headers.values())) < 5_000
    read = dialects.decode(value, headers)
    assert read.message.startswith("\\ud800xxx")
    assert read.code == "\\udfff"


@given(st.dictionaries(st.sampled_from(_NAMES), st.binary(max_size=12)), st.sampled_from(dialects.Dialect))
@settings(max_examples=300)
def test_no_header_makes_the_reader_fail(hostile: dict[str, bytes], dialect: dialects.Dialect) -> None:
    """Catches any error but DeadLetterError out of a reader that walks a topic others write to."""
    for headers in (hostile, {**dialects.encode(letters.letter(), dialect)[1], **hostile}):
        with contextlib.suppress(deadletters.DeadLetterError):
            dialects.decode(b"", headers)


@pytest.mark.parametrize(
    "hostile",
    [b"\xff" * 10_000_000, b"[" * 100_000, b"9" * 5_000, b"-1", b"1e999"],
    ids=["huge", "deep", "digits", "negative", "infinite"],
)
@pytest.mark.parametrize("name", _NAMES)
def test_a_hostile_header_costs_a_short_error_or_is_kept_as_text(name: str, hostile: bytes) -> None:
    """Catches an error as long as the header, a text of megabytes, and times that can't be shown."""
    for dialect in dialects.Dialect:
        headers = {**dialects.encode(letters.letter(), dialect)[1], name: hostile}
        said, message, failed_at = "", "", 0
        try:
            read = dialects.decode(b"", headers)
            message, failed_at = read.message, read.failed_at_microseconds
        except deadletters.DeadLetterError as error:
            said = str(error)
        assert (len(said) < 500, len(message) <= 40_000) == (True, True)
        assert -1 <= failed_at < 253_402_300_800_000_000


def test_headers_of_our_own_dialect_are_text_that_any_tool_shows() -> None:
    """Catches a binary form that only Penstock reads."""
    _, headers = dialects.encode(letters.letter(items=(3, 5)))
    assert headers["penstock.dead-letter.category"] == b"SinkRejected"
    assert headers["penstock.dead-letter.offset"] == b"7"
    assert headers["penstock.dead-letter.items"] == b"[3,5]"


@pytest.mark.parametrize(
    ("header", "value", "named"),
    [
        ("version", b"9", "version: found '9', this release reads 1"),
        ("version", None, "version: missing"),
        ("code", None, "code: missing"),
        ("offset", b"x", "offset: 'x' is no number"),
        ("category", b"Nonsense", "category: Invalid enum value 'Nonsense'"),
        ("items", b"[1", "items: "),
        ("items", b'["a"]', "items: "),
        ("items", b"[1, 9223372036854775808]", "items: out of range"),
        ("record", b'{"topic": "t", "partition": 0, "offset": -2, "timestamp_microseconds": 0}', "record: out of range"),
        ("lane", b"\xff", "lane: .* is not UTF-8"),
        ("failed-at-microseconds", b"9" * 19, "failed-at-microseconds: "),
    ],
    ids=str,
)
def test_what_is_no_letter_is_named(header: str, value: bytes | None, named: str) -> None:
    """Catches a stranger's record taken for a letter, and an error that does not say which header is wrong."""
    original, headers = dialects.encode(letters.letter())
    headers.pop(f"penstock.dead-letter.{header}", None)
    if value is not None:
        headers[f"penstock.dead-letter.{header}"] = value
    with pytest.raises(deadletters.DeadLetterError, match=rf"^penstock\.dead-letter\.{named}"):
        dialects.decode(original, headers)


def test_of_headers_with_one_name_the_last_that_has_a_value_counts() -> None:
    """Catches Spring's first failure shown for its last, and a null that hides what was said."""
    assert dialects.last_of([("a", b"1"), ("a", b"2"), ("b", b"3"), ("b", None)]) == {"a": b"2", "b": b"3"}
