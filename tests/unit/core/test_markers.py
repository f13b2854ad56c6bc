"""Markers as they are written beside dead letters."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import deadletters, dialects, markers

MARKER = markers.Marker(
    kind=markers.Kind.REPLAYED, id="ab" * 16, lane="shop/orders/warehouse", attempt=2, replay_offset=7, at_microseconds=5
)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(markers.Kind),
    attempt=st.integers(0, 1_000),
    offset=st.integers(-1, 2**62),
    reason=st.text(max_size=50),
)
def test_a_marker_is_read_back_as_it_was_written(kind, attempt, offset, reason):
    """Catches a field that is lost or comes back as text."""
    marker = markers.Marker(
        kind=kind, id="x", lane="a/b/c", attempt=attempt, replay_offset=offset, at_microseconds=1, reason=reason
    )
    value, headers = markers.encode(marker)
    assert (value, markers.is_marker(headers), markers.decode(headers)) == (b"", True, marker)


def test_a_marker_is_no_letter_and_a_letter_no_marker():
    """Catches a reader of the topic that takes one for the other."""
    _, headers = markers.encode(MARKER)
    with pytest.raises(deadletters.DeadLetterError):
        dialects.decode(b"", headers)
    assert not markers.is_marker({"penstock.dead-letter.version": b"1"})


@pytest.mark.parametrize(
    ("header", "value", "names"),
    [
        ("version", b"9", "version"),
        ("attempt", b"two", "attempt"),
        ("kind", b"Eaten", "kind"),
        ("id", None, "id"),
        ("letter-offset", b"9" * 30, "letter-offset: out of range"),
        ("replay-offset", b"-2", "replay-offset: out of range"),
    ],
    ids=str,
)
def test_a_marker_that_can_not_be_read_says_why(header, value, names):
    """Catches a damaged marker that is silently left out: its letter would be replayed again."""
    _, headers = markers.encode(MARKER)
    headers = {name: content for name, content in headers.items() if not (value is None and name.endswith(f".{header}"))}
    if value is not None:
        headers[f"penstock.marker.{header}"] = value
    with pytest.raises(markers.MarkerError, match=names):
        markers.decode(headers)


def test_a_long_reason_is_cut_and_still_written():
    """Catches a discard that the log refuses for its size."""
    _, headers = markers.encode(
        markers.Marker(kind=markers.Kind.DISCARDED, id="x", lane="l", attempt=1, at_microseconds=1, reason="r" * 5_000)
    )
    assert len(markers.decode(headers).reason) == markers.MAX_REASON_CHARACTERS


def test_the_replay_log_of_each_lane_has_an_identity_of_its_own():
    """The mutant that leaves the log id alone: replayed rows would be trimmed as landed."""
    assert len({"log", markers.replay_log_id("log", "a"), markers.replay_log_id("log", "b")}) == 3
