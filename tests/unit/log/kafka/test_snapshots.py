"""Which snapshots count, worked out from the records of a compacted topic."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.log.kafka import snapshots

PLACE = snapshots.Place(topic="events", group="g", partition=1)


def entries(offset: int, save: str, contents: list[bytes], group: str = "g") -> list[snapshots.Entry]:
    return [
        snapshots.Entry(
            key=msgspec.msgpack.encode(("events", group, 1, offset, part)),
            value=msgspec.msgpack.encode((save, len(contents), content)),
        )
        for part, content in enumerate(contents)
    ]


def deletion(offset: int, part: int) -> snapshots.Entry:
    return snapshots.Entry(key=msgspec.msgpack.encode(("events", "g", 1, offset, part)), value=None)


def kept(*written: list[snapshots.Entry]) -> list[tuple[int, bytes]]:
    history = snapshots.History(PLACE)
    for save in written:
        for entry in save:
            history.add(entry)
    return [(snapshot.offset, snapshot.content) for snapshot in history.kept]


def test_a_snapshot_counts_when_its_last_part_is_there():
    """Catches a save that was killed half-way being loaded."""
    whole, half = entries(5, "a", [b"1", b"2", b"3"]), entries(9, "b", [b"4", b"5"])[:1]
    assert kept(whole, half) == [(5, b"123")]


def test_parts_of_two_saves_are_never_mixed():
    """Catches a second save of one offset, killed half-way, that is completed with the first one's parts."""
    assert kept(entries(5, "a", [b"1", b"2"]), entries(5, "b", [b"x", b"y"])[:1]) == []


def test_a_lower_snapshot_takes_the_place_of_those_above_without_any_deletion():
    """Catches a lane that began anew and loads what was before."""
    assert kept(entries(5, "a", [b"5"]), entries(9, "b", [b"9"]), entries(7, "c", [b"7"])) == [(7, b"7"), (5, b"5")]


def test_deletions_and_other_groups_leave_the_rest_alone():
    """Catches one group's snapshots in another's hands."""
    assert kept(entries(5, "a", [b"5"]), entries(6, "x", [b"6"], "other"), entries(7, "b", [b"7"]), [deletion(7, 0)]) == [
        (5, b"5")
    ]


def test_what_others_write_is_passed():
    """Catches a lane that does not start because somebody has written to its topic."""
    [mine] = entries(5, "a", [b"5"])
    strange = [(b"", b"?"), (b"key", None), (mine.key, b"?"), (mine.key, msgspec.msgpack.encode(("a", "1", b"")))]
    assert kept([mine], [snapshots.Entry(key=key, value=value) for key, value in strange]) == [(5, b"5")]


def test_what_counts_no_more_is_left_over():
    """Catches a topic that grows with every save."""
    history = snapshots.History(PLACE)
    for entry in entries(1, "a", [b"1", b"2"]) + entries(2, "b", [b"3"]) + entries(3, "c", [b"4"]):
        history.add(entry)
    assert sorted(history.leftovers()) == [(1, 0), (1, 1)]


@given(st.binary(max_size=50), st.integers(1, 20))
def test_pieces_make_the_whole_again(content, most):
    """Catches an empty content without a piece, and a piece over the limit."""
    pieces = list(snapshots.cut(content, most))
    assert b"".join(pieces) == content
    assert pieces
    assert max(map(len, pieces)) <= most
