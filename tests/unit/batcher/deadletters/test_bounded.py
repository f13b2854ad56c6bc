"""What a letter holds of a record that is larger than a letter may be."""

from __future__ import annotations

import pytest

from penstock.batcher.deadletters import bounded, originals
from penstock.core import deadletters
from penstock.core.records import decode

MOST = bounded.MOST_BYTES


def record(value: int, key: int = 0, header: int = 0) -> originals.Original:
    place, form = decode.Place(topic="orders", partition=3), deadletters.OriginalFormat.AVRO
    return originals.of_record(place, form, 17, 5, b"k" * key, b"v" * value, [("h", b"x" * header), ("n", None)])


@pytest.mark.parametrize(("value", "key", "header"), [(0, 0, 0), (MOST - 4, 0, 0), (0, MOST // 2 - 2, 0), (0, 0, MOST // 2 - 2)])
def test_what_fits_is_kept_byte_for_byte(value: int, key: int, header: int) -> None:
    """Catches a bound that takes something from records that a letter has room for."""
    event = record(value, key, header)
    assert bounded.held(event) == (event, "")


@pytest.mark.parametrize(("value", "key", "header"), [(MOST + 1, 0, 0), (0, MOST // 2, 0), (0, 0, MOST // 2)])
def test_of_what_does_not_fit_the_place_is_kept_and_told(value: int, key: int, header: int) -> None:
    """Catches a letter that the log refuses, a part of a value that looks like all of it, and one that nobody can find again."""
    held, said = bounded.held(record(value, key, header))
    assert (held.document, held.record.key, held.record.headers, held.record.apart) == (b"", None, (), True)
    assert (held.record.topic, held.record.offset, held.format) == ("orders", 17, deadletters.OriginalFormat.AVRO)
    assert f"{value:,} bytes" in said
    assert "orders/3/17" in said


def test_an_event_of_our_own_log_is_kept() -> None:
    """Catches a bound for events that the doors have bounded already."""
    event = originals.Original(document=b"{}" * MOST, format=deadletters.OriginalFormat.JSON, received_at_microseconds=1)
    assert bounded.held(event) == (event, "")
