"""Records to Kafka's headers and back."""

from __future__ import annotations

import pytest
from aiokafka.record import default_records, util

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


@pytest.mark.parametrize("headers", [[("penstock-producer", None)], [("penstock-producer", b"p"), ("penstock-sequence", None)]])
def test_a_header_without_a_value_is_none(headers):
    """Catches an error that no reader of a log understands."""
    with pytest.raises(port.DamagedLogError, match=r"events/1: the record at 7"):
        records.to_record("events", 1, 7, 5, b"v", headers)
    own = records.to_headers(port.NewRecord(value=b"", headers={"a": b"1"}, producer="p", sequence=0))
    assert records.to_record("events", 1, 7, 5, None, [*own, ("b", None)]).headers == {"a": b"1"}


def _batch(offsets: list[int], strange: int | None = None, name: bytes = b"name", attributes: int = 0) -> bytes:
    """Signed whatever it holds; `name` is that of a header of the strange record."""
    builder = default_records.DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for index, offset in enumerate(offsets):
        new = port.NewRecord(value=b"v", headers={}, producer="p", sequence=offset)
        builder.append(index, 1, None, b"v", [("name", b"")] if offset == strange else records.to_headers(new))
    made = builder.build().replace(b"name", name)
    made[0:8] = offsets[0].to_bytes(8, "big")
    made[21:23] = attributes.to_bytes(2, "big")
    made[17:21] = util.calc_crc32c(bytes(made[21:])).to_bytes(4, "big")
    return bytes(made)


def test_what_is_damaged_is_left_out_and_passed():
    """Catches a healthy record that goes with a damaged one, and a piece that is read again for ever."""
    whole, broken = _batch([0, 1, 2], strange=1), bytearray(_batch([3, 4]))
    broken[-1] ^= 1

    def found(start: int, content: bytes) -> tuple[list[int], int]:
        piece = records.readable("events", "t", 0, start, content)
        return [one.offset for one in piece.found], piece.following

    assert found(0, whole + broken) == ([0, 2], 3)
    assert found(2, whole + broken) == ([2], 3)
    assert found(3, bytes(broken)) == ([], 4)
    assert found(4, bytes(broken)) == ([], 5)
    told = [one.offset for start in (3, 4) for one in records.readable("events", "t", 0, start, bytes(broken)).damaged]
    assert told == [3, 4]
    assert found(5, b"") == ([], 5)


_CONTROL, _UNKNOWN_CODEC, _GZIP = 0x20, 0x07, 0x01


@pytest.mark.parametrize(
    ("strange", "found", "damaged"),
    [
        (_batch([3, 4, 5], strange=4), [2, 3, 5, 6], [4]),
        (_batch([3, 4, 5], strange=4, name=b"\xff\xfe\xfd\xfc"), [2, 3, 6], [4, 5]),
        (_batch([3, 4, 5], attributes=_UNKNOWN_CODEC), [2, 6], [3, 4, 5]),
        (_batch([3, 4, 5], attributes=_GZIP), [2, 6], [3, 4, 5]),
        (_batch([3, 4, 5], attributes=_CONTROL), [2, 6], []),
    ],
    ids=["no letter", "name", "codec", "packed", "control"],
)
def test_whatever_a_stranger_signs_is_told_by_its_place_and_passed(strange, found, damaged):
    """Catches an error of the client's own, a stranger's record that nobody hears of, and the end of a transaction that is told
    as one."""
    piece = records.readable("events", "t", 0, 2, _batch([1, 2]) + strange + _batch([6]))
    assert [one.offset for one in piece.found] == found
    assert [one.offset for one in piece.damaged] == damaged
    assert piece.following == 7
    assert all(one.reason for one in piece.damaged)


def test_the_end_of_a_transaction_is_passed_where_it_comes_alone():
    """What follows it may be too large to come with it. Catches a log that seems to end there."""
    content = _batch([3], attributes=_CONTROL)
    assert records.readable("events", "t", 0, 3, content).following == 4
    assert records.behind("t", 0, 3, content) == 4
    assert list(records.batches("t", 0, content)) == []
    assert records.behind("t", 0, 3, b"") == 3


def test_what_can_not_be_taken_apart_is_damage_to_who_reads_one_after_the_other():
    """Catches an error that no lane understands, and records before it that are given up."""
    content = _batch([3, 4], strange=4, name=b"\xff\xfe\xfd\xfc")
    [batch] = records.batches("t", 0, content)
    taken = []
    with pytest.raises(port.DamagedLogError, match="t/0: the records from 3 to 4 can't be taken apart"):
        taken.extend(item.offset for item in records.items("t", 0, batch))
    [batch] = records.batches("t", 0, content)
    assert next(records.items("t", 0, batch)).offset == 3


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
