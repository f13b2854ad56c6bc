"""Records to Kafka's headers and back."""

from __future__ import annotations

import pytest

from penstock.log import port
from penstock.log.kafka import records


def test_headers_and_identity_come_back_as_they_went():
    """Catches an own header that is shown to readers, and a sequence read as text."""
    new = port.NewRecord(value=b"v", headers={"rows": b"3", "empty": b""}, producer="pröducer", sequence=12)
    found = records.to_record("events", 1, 7, 5, b"v", records.to_headers(new))
    assert (found.headers, found.producer, found.sequence) == (new.headers, "pröducer", 12)
    assert (found.offset, found.append_time_microseconds) == (7, 5_000)


@pytest.mark.parametrize(
    "headers", [[], [("penstock-producer", b"p")], [("penstock-producer", b"p"), ("penstock-sequence", b"x")]]
)
def test_a_record_of_somebody_else_is_damage_and_named(headers):
    """Catches a stranger's record being taken for a block."""
    with pytest.raises(port.DamagedLogError, match=r"events/1: the record at 7"):
        records.to_record("events", 1, 7, 5, b"v", headers)
