"""Runs of replays: who they are, what they say, what they leave."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import markers, runs

SPEC = {"pipelineRef": {"name": "clicks"}, "action": "Replay", "suspend": False, "eventsPerSecond": 500, "select": {"sinks": []}}
REPORT = runs.Report(
    phase=runs.Phase.COMPLETE,
    message="18 put back",
    selected=18,
    replayed=18,
    landed=17,
    failed=1,
    by_category={"SinkRejected": 18},
    by_error=(runs.ErrorCount(fingerprint="3f9c2a71bbcc", count=18, example="too long"),),
    started_at=1,
    finished_at=2,
    events_per_second=500,
)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"suspend": True}, True),
        ({"eventsPerSecond": 7}, True),
        ({"ttlSecondsAfterFinished": 60}, True),
        ({"action": "Discard"}, False),
        ({"select": {"sinks": ["lake"]}}, False),
        ({"maxReplaysPerEvent": 9}, False),
    ],
    ids=str,
)
def test_it_is_the_same_run_while_it_asks_for_the_same(change: dict[str, object], same: bool) -> None:
    """Catches a run that is done again because it was held, and another one that is taken for it."""
    assert (runs.identity("web", "again", SPEC | change) == runs.identity("web", "again", SPEC)) == same


def test_the_order_of_members_says_nothing_and_the_name_much() -> None:
    """Catches an id that changes with whoever writes the object, and two objects with one id."""
    turned = dict(reversed(SPEC.items()))
    assert runs.identity("web", "again", turned) == runs.identity("web", "again", SPEC)
    others = [("web", "once-more"), ("shop", "again")]
    assert len({runs.identity(*one, SPEC) for one in [("web", "again"), *others]}) == 3


def test_a_report_is_read_back_as_it_was_written() -> None:
    """Catches a field that is lost on its way to the operator."""
    assert runs.decode(runs.encode(REPORT)) == REPORT


@settings(max_examples=40)
@given(errors=st.integers(0, 32), message=st.text(max_size=4_000), example=st.text(max_size=240))
def test_a_report_fits_what_a_cluster_keeps_of_it(errors: int, message: str, example: str) -> None:
    """Catches a last word that is cut in its middle, and counts that are lost to make room."""
    many = tuple(runs.ErrorCount(fingerprint=f"{at:012x}", count=9, example=example) for at in range(errors))
    told = runs.Report(phase=runs.Phase.COMPLETE, message=message, selected=18, by_error=many)
    text = runs.encode(told, 4_000)
    assert len(text) <= 4_000
    assert (runs.decode(text).selected, runs.decode(text).phase) == (18, runs.Phase.COMPLETE)


def test_what_is_no_report_says_so() -> None:
    """Catches the last lines of a log that are taken for a report."""
    for text in (b"", b"Traceback", b"{", b"\xff", b'{"phase": "Eaten"}'):
        with pytest.raises(runs.ReportError):
            runs.decode(text)


def test_the_record_of_a_run_is_found_by_its_id_alone_and_is_no_marker() -> None:
    """Catches the end of one run that is taken for another's, and a record that readers of markers stumble over."""
    headers = runs.done_headers("a" * 32, REPORT)
    assert runs.done_report("a" * 32, headers) == REPORT
    assert runs.done_report("b" * 32, headers) is None
    assert not markers.is_marker(headers)
    _, other = markers.encode(markers.Marker(kind=markers.Kind.REPLAYED, id="x", lane="l", attempt=1, at_microseconds=1))
    assert runs.done_report("a" * 32, other) is None


def test_a_record_of_a_newer_release_counts_as_done() -> None:
    """Catches a run that is done again after a release went back."""
    headers = {**runs.done_headers("a" * 32, REPORT), "penstock.run.report": b'{"phase": "Else"}'}
    found = runs.done_report("a" * 32, headers)
    assert found is not None
    assert found.phase is runs.Phase.COMPLETE
