"""Records to Kafka's headers and back."""

from __future__ import annotations

import pytest
from aiokafka.record import default_records

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


def _batch(offsets: list[int], strange: int | None = None) -> bytes:
    builder = default_records.DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for index, offset in enumerate(offsets):
        new = port.NewRecord(value=b"v", headers={}, producer="p", sequence=offset)
        builder.append(index, 1, None, b"v", [] if offset == strange else records.to_headers(new))
    made = builder.build()
    made[0:8] = offsets[0].to_bytes(8, "big")
    return bytes(made)


def test_what_is_damaged_is_left_out_and_passed():
    """Catches a healthy record that goes with a damaged one, and a piece that is read again for ever."""
    whole, broken = _batch([0, 1, 2], strange=1), bytearray(_batch([3, 4]))
    broken[-1] ^= 1

    def found(start: int, content: bytes) -> tuple[list[int], int]:
        taken, following = records.readable("events", "t", 0, start, content)
        return [one.offset for one in taken], following

    assert found(0, whole + broken) == ([0, 2], 3)
    assert found(2, whole + broken) == ([2], 3)
    assert found(3, bytes(broken)) == ([], 4)
    assert found(5, b"") == ([], 5)


def test_records_end_before_a_damaged_one_and_the_first_one_is_told():
    """Catches good records that are given up, and a damaged one that looks like the end of the log."""

    def of(*offsets: int):
        for offset in offsets:
            headers = [] if offset == 2 else records.to_headers(port.NewRecord(value=b"", headers={}, producer="p", sequence=0))
            yield records.to_record("events", 0, offset, 5, b"v", headers)

    assert [one.offset for one in records.until_damaged(of(0, 1, 2, 3))] == [0, 1]
    assert records.until_damaged(of()) == []
    with pytest.raises(port.DamagedLogError, match="at 2"):
        records.until_damaged(of(2, 3))
