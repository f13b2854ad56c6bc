"""How near unread records are to being deleted by the topic they stand in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import expiry


def unread(**changes: object) -> expiry.Unread:
    told = {"start": 100, "next": 150, "end": 200, "age_seconds": 60.0, "partition_bytes": 1_000}
    return expiry.Unread(**{**told, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("configs", "kept"),
    [
        ({}, expiry.Kept()),
        ({"retention.ms": "604800000", "retention.bytes": "-1"}, expiry.Kept(seconds=604_800.0)),
        ({"retention.ms": "-1", "retention.bytes": "1000"}, expiry.Kept(bytes=1_000)),
        ({"cleanup.policy": "compact", "retention.ms": "1000"}, expiry.Kept()),
        ({"cleanup.policy": "compact,delete", "retention.ms": "1000"}, expiry.Kept(seconds=1.0)),
    ],
)
def test_what_a_topic_keeps_is_read_from_its_settings(configs: dict[str, str], kept: expiry.Kept) -> None:
    """Catches -1 for nothing at all, milliseconds for seconds, and a warning about a topic that deletes nothing by age."""
    assert expiry.kept(configs) == kept


@pytest.mark.parametrize(
    ("keeps", "changes", "share"),
    [
        (expiry.Kept(), {}, 0.0),
        (expiry.Kept(seconds=120.0), {}, 0.5),
        (expiry.Kept(seconds=120.0), {"age_seconds": None}, 0.0),
        (expiry.Kept(bytes=1_000), {}, 0.5),
        (expiry.Kept(bytes=1_000), {"partition_bytes": None}, 0.0),
        (expiry.Kept(seconds=120.0, bytes=600), {}, 500 / 600),
        (expiry.Kept(seconds=0.0), {}, 60.0),
        (expiry.Kept(seconds=1.0, bytes=1), {"next": 200}, 0.0),
        (expiry.Kept(), {"next": 99}, 1.0),
    ],
)
def test_the_nearer_of_age_and_size_counts(keeps: expiry.Kept, changes: dict[str, object], share: float) -> None:
    """Catches a bound that is passed over, a lane that has read everything and is warned all the same, and a gap that is well."""
    assert expiry.used(keeps, unread(**changes)) == pytest.approx(share)


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1e9), st.integers(1, 1 << 40))
def test_who_reads_on_is_never_worse_off(first: int, more: int, age: float, size: int) -> None:
    """Catches a share that grows while the lane catches up."""
    keeps = expiry.Kept(seconds=1_000.0, bytes=1_000_000)
    before = unread(start=0, next=first, end=200, age_seconds=age, partition_bytes=size)
    after = unread(start=0, next=first + more, end=200, age_seconds=age / 2, partition_bytes=size)
    assert expiry.used(keeps, after) <= expiry.used(keeps, before)
