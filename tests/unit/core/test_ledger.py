"""The ledger's equations, and the text that carries it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core import ledger

NAMES = [field.name for field in dataclasses.fields(ledger.Counts)]
EVENT_OUTCOMES = ["duplicates", "dead_lettered_events", "transformed"]
ROW_OUTCOMES = ["filtered", "other_lanes", "written", "dead_lettered_rows"]
BALANCED = ledger.Counts(
    read=11, duplicates=1, dead_lettered_events=2, transformed=5, without_rows=4,
    lost=7, resent_blocks=9, made=26, filtered=2, other_lanes=3, written=8, dead_lettered_rows=9,
)  # fmt: skip

numbers = st.integers(0, 2**63 - 1)
counts = st.builds(ledger.Counts, **dict.fromkeys(NAMES, numbers))


def test_counts_that_add_up_leave_nothing_unexplained() -> None:
    """Catches an equation that drops a term: each has another value here."""
    assert BALANCED.unexplained(events_in_flight=3, rows_in_flight=4) == 0
    assert BALANCED.unexplained() == 7


@pytest.mark.parametrize("name", ["read", "made", *EVENT_OUTCOMES, *ROW_OUTCOMES])
@pytest.mark.parametrize("change", [1, -1], ids=str)
def test_one_event_or_row_too_many_or_too_few_is_seen(name: str, change: int) -> None:
    """Catches a block that is skipped silently, a row that is counted twice, and a term with the wrong sign."""
    wrong = dataclasses.replace(BALANCED, **{name: getattr(BALANCED, name) + change})
    assert wrong.unexplained(events_in_flight=3, rows_in_flight=4) == 1


def test_a_missing_event_and_a_surplus_row_do_not_cancel() -> None:
    """Catches residuals that are added with their signs."""
    assert ledger.Counts(read=1, written=1).unexplained() == 2


@pytest.mark.parametrize("name", ["without_rows", "lost", "resent_blocks"])
def test_what_stands_in_no_equation_does_not_disturb_it(name: str) -> None:
    """Catches `without_rows` counted beside `transformed`, of which it is a part."""
    assert dataclasses.replace(BALANCED, **{name: 1_000}).unexplained(events_in_flight=3, rows_in_flight=4) == 0


@given(counts, counts)
@settings(max_examples=50)
def test_counts_add_field_by_field(left: ledger.Counts, right: ledger.Counts) -> None:
    """Catches a field that is left out of a sum, also one that is added later."""
    total = left + right
    assert [getattr(total, name) for name in NAMES] == [getattr(left, name) + getattr(right, name) for name in NAMES]


ids = st.text(max_size=20) | st.sampled_from(["ä" * 300, "x" * 500])
producer_sequences = st.lists(st.tuples(ids, numbers), max_size=20).map(
    lambda pairs: {f"{producer}{at}": sequence for at, (producer, sequence) in enumerate(pairs)}
)


@given(st.builds(ledger.LaneMetadata, counts=counts, producers=producer_sequences, starts=numbers, start_offset=numbers))
@settings(max_examples=100)
@example(ledger.LaneMetadata(producers={f"{at}": at for at in range(20)}))
@example(ledger.LaneMetadata(producers={f"{at}" + "ä" * 300: at for at in range(10)}))
def test_metadata_always_fits_and_keeps_all_but_the_oldest_producers(metadata: ledger.LaneMetadata) -> None:
    """Catches a commit that the log refuses, characters counted for bytes, and the newest producers thrown out."""
    text = ledger.to_metadata(metadata)
    assert len(text.encode()) <= ledger.MAX_METADATA_BYTES
    again = ledger.from_metadata(text)
    newest_first, kept = list(reversed(metadata.producers.items())), list(reversed(again.producers.items()))
    assert kept == newest_first[: len(kept)]
    assert len(kept) <= ledger.MAX_PRODUCERS
    assert dataclasses.replace(again, producers={}) == dataclasses.replace(metadata, producers={})


def test_sixteen_producers_of_usual_length_all_fit() -> None:
    """Catches metadata that grows until gap detection goes blind."""
    producers = {f"0192f0c1-7a2b-7c3d-8e4f-{number:012x}": 2**62 + number for number in range(16)}
    full = ledger.LaneMetadata(
        counts=ledger.Counts(**dict.fromkeys(NAMES, 2**62)), producers=producers, starts=3, start_offset=2**62
    )
    assert ledger.from_metadata(ledger.to_metadata(full)) == full


def test_a_version_from_the_future_is_named() -> None:
    """Catches counts of an unknown meaning taken over as ours."""
    text = ledger.to_metadata(ledger.LaneMetadata(version=1)).replace('"version":1', '"version":7')
    with pytest.raises(ledger.MetadataError, match="has version 7, this release reads 1"):
        ledger.from_metadata(text)


@pytest.mark.parametrize("text", ["", "{}", "nonsense", '{"version":"1"}', '{"version":1,"starts":"x"}', "[1]"])
def test_text_that_is_no_metadata_is_refused(text: str) -> None:
    """Catches a ledger that silently starts again at zero because something else wrote the offset."""
    with pytest.raises(ledger.MetadataError, match="no Penstock wrote"):
        ledger.from_metadata(text)
