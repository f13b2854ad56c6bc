"""What a replay says when it is done."""

from __future__ import annotations

import pytest

from penstock.cli.showing import replay_text
from penstock.v1 import control_pb2


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, ["nothing outstanding matches"]),
        ({"selected": 3, "published": 3, "landed": 3}, ["3 put back: 3 landed, 0 failed again"]),
        (
            {"selected": 1200, "published": 1200, "landed": 1000, "failed_again": 150},
            ["1,200 put back: 1,000 landed, 150 failed again, 50 under way (penstock dlq ls shows them)"],
        ),
        (
            {"selected": 9, "published": 4, "failed_again": 4, "suspended": "4 of 4 failed again"},
            ["4 put back: 0 landed, 4 failed again, 5 left where they were"],
        ),
        (
            {"selected": 3, "published": 2, "landed": 2, "finished": True},
            [
                "2 put back: 2 landed, 0 failed again",
                "1 left where they were, for their events are damaged (penstock dlq export says which)",
            ],
        ),
        (
            {"recovered": 2, "quarantined": 1, "homeless": 4},
            [
                "2 were put back before by a replay that was interrupted",
                "nothing outstanding matches",
                "1 quarantined (a higher --max-replays frees them)",
                "4 of sinks that the pipeline no longer has",
            ],
        ),
    ],
    ids=str,
)
def test_the_outcome_names_what_happened_and_what_stayed(capsys, fields, lines):
    """Catches letters that are in none of the numbers."""
    replay_text.print_outcome(control_pb2.ReplayProgress(**fields))
    assert capsys.readouterr().out.splitlines() == lines
