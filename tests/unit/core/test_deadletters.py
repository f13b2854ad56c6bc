"""Dead letters: their ids and their fingerprints."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import addresses, deadletters

HERE = addresses.Address("log-1", 2, addresses.Position(17, 4, 3))


def letter(**changes: object) -> deadletters.DeadLetter:
    fields: dict[str, object] = {
        field.name: {str: field.name, int: 7, bytes: b"{}", tuple[int, ...]: (1, 2)}.get(field.type)
        for field in msgspec.structs.fields(deadletters.DeadLetter)
    }
    fields |= {
        "unit": deadletters.Unit.ROW,
        "category": deadletters.Category.SINK_REJECTED,
        "original_format": deadletters.OriginalFormat.JSON,
    }
    return deadletters.DeadLetter(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_id_is_the_same_after_a_crash_and_in_every_release() -> None:
    """Catches an id made from time, a counter, Python's own hash, or the order in which items were found."""
    assert deadletters.letter_id(HERE, "warehouse", (3,)) == "a78fa9a6a0c2c6315fac8f24a6044e27"
    assert deadletters.letter_id(HERE, "warehouse", (3, 1, 3)) == deadletters.letter_id(HERE, "warehouse", (1, 3))


def test_a_block_keeps_the_names_of_its_events_under_another_id_of_its_log() -> None:
    """Catches a refusal that gets a second letter when a copy of the log is given another id, and one that takes the name of
    an event that the copy has lost."""
    elsewhere = addresses.Address("log-2", HERE.partition, HERE.position)
    named = deadletters.letter_id(HERE, "warehouse", (3,), block=deadletters.block_name("door-a", 1))
    assert named == deadletters.letter_id(elsewhere, "warehouse", (3,), block=deadletters.block_name("door-a", 1))
    others = {deadletters.letter_id(HERE, "warehouse", (3,), block=block) for block in ("", "door-a/2", "door-b/1")}
    assert len(others | {named}) == 4
    assert deadletters.block_name("", 7) == ""


@pytest.mark.parametrize(
    ("address", "lane", "items"),
    [
        (addresses.Address("log-2", 2, HERE.position), "warehouse", (3,)),
        (addresses.Address("log-1", 1, HERE.position), "warehouse", (3,)),
        (addresses.Address("log-1", 2, addresses.Position(18, 4, 3)), "warehouse", (3,)),
        (addresses.Address("log-1", 2, addresses.Position(17, 5, 3)), "warehouse", (3,)),
        (HERE, "lake", (3,)),
        (HERE, "warehouse", (2,)),
        (HERE, "warehouse", (3, 4)),
        (HERE, "warehouse", ()),
    ],
    ids=str,
)
def test_another_unit_or_lane_has_another_id(address: addresses.Address, lane: str, items: tuple[int, ...]) -> None:
    """Catches a part left out of the id: one letter would swallow another."""
    assert deadletters.letter_id(address, lane, items) != deadletters.letter_id(HERE, "warehouse", (3,))


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
@settings(max_examples=50)
def test_the_parts_of_an_id_are_not_confused(log_a: str, lane_a: str, log_b: str, lane_b: str) -> None:
    """Catches parts joined without their edges."""
    ids = {
        deadletters.letter_id(addresses.Address(log, 0, HERE.position), lane, ())
        for log, lane in ((log_a, lane_a), (log_b, lane_b))
    }
    assert len(ids) == len({(log_a, lane_a), (log_b, lane_b)})


def test_only_what_is_found_before_there_are_rows_is_about_the_event() -> None:
    """Catches a category under the wrong unit: replay would repeat rows that have landed, or miss some."""
    events = [category.value for category in deadletters.Category if category.unit is deadletters.Unit.EVENT]
    rows = [category.value for category in deadletters.Category if category.unit is deadletters.Unit.ROW]
    assert events == ["Malformed", "SchemaMismatch", "TooLarge"]
    assert rows == ["TransformFailed", "SinkRejected", "Unclassified"]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            ["could not convert string 'abc' to INT32", "could not convert string 'x y' to INT32"],
            "could not convert string ? to INT32",
        ),
        (["can't cast 'O'Brien' here", "can't cast 'it''s' here", "can't cast '' here"], "can't cast ? here"),
        (['unknown value "a\\"b"', 'unknown value "c"'], "unknown value ?"),
        (["row 17: -3.5e+7 is over 10", "row 4: 12 is over 0"], "row ? ? is over ?"),
        (["at 2020-01-02T03:04:05Z", "at 1999-12-31"], "at ?"),
        (["id 8f14e45f-ceea-467a-9575-1d2b6e0a1b2c gone", "id a0000000-0000-4000-8000-00000000000f gone"], "id ? gone"),
        (["trace deadbeef0123456789", "trace 0123456789abcdef"], "trace ?"),
        (["too   long\n\n  here", "too long here"], "too long here"),
        (["`a b` is missing", "`c` is missing"], "? is missing"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_one_cause_has_one_fingerprint(messages: list[str], expected: str) -> None:
    """Catches values that stay in: a flood of one cause would look like many causes."""
    found = {deadletters.fingerprint(deadletters.Category.SINK_REJECTED, message) for message in messages}
    assert found == {f"SinkRejected: {expected}"}


def test_other_causes_have_other_fingerprints() -> None:
    """Catches a fingerprint that takes out words too, or forgets the category."""
    rejected, failed = deadletters.Category.SINK_REJECTED, deadletters.Category.TRANSFORM_FAILED
    found = {deadletters.fingerprint(rejected, "can't be NULL"), deadletters.fingerprint(rejected, "can't be INT32")}
    assert len(found | {deadletters.fingerprint(failed, "can't be NULL")}) == 3


@given(st.text(alphabet="'\"`\\ab1- \n", max_size=60).map(lambda piece: piece * 200))
@settings(max_examples=100)
def test_a_fingerprint_is_short_whatever_the_message(message: str) -> None:
    """Catches a store's megabyte of message as a key, and a pattern that takes minutes over quotes (the run's deadline)."""
    assert len(deadletters.fingerprint(deadletters.Category.MALFORMED, message)) <= 200


def test_a_letter_written_twice_counts_once_as_the_last_says() -> None:
    """Catches the letter doubled by a crash between its write and the commit."""
    first, other, again = letter(id="a", attempt=1), letter(id="b"), letter(id="a", attempt=2)
    assert deadletters.collapse([first, other, again]) == [again, other]
