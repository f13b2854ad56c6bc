"""Requests for replays between messages and values."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import selection
from penstock.machine import replays
from penstock.replay import job, survey
from penstock.v1 import control_pb2

words = st.frozensets(st.text(max_size=8), max_size=3)


@settings(max_examples=60)
@given(words, words, words, words, st.integers(0, 2**62), st.none() | st.integers(0, 2**62))
def test_a_selection_arrives_as_it_was_sent(categories, sinks, expressions, fingerprints, since, until):
    """Catches a filter that is lost on the way: more would be put back than was meant."""
    sent = selection.Filters(
        categories=categories,
        sinks=sinks,
        expressions=expressions,
        fingerprints=fingerprints,
        since_microseconds=since,
        until_microseconds=until,
    )
    wire = control_pb2.LetterSelection.FromString(replays.letters_message(sent).SerializeToString())
    assert replays.filters(wire) == sent


def test_what_stayed_behind_is_told_by_reason():
    """Catches a count under the name of another."""
    found = survey.Survey(selected=[], unmarked=[], replaying=1, quarantined=2, unsettled=3, homeless=4)
    told = replays.progress_message(job.Progress(survey=found, published=9, landed=5, failed_again=3, finished=True))
    assert (told.replaying, told.quarantined, told.unsettled, told.homeless) == (1, 2, 3, 4)
    assert (told.published, told.landed, told.failed_again, told.finished) == (9, 5, 3, True)
