"""Which letters are meant, and what has become of them."""

from __future__ import annotations

import random

import pytest
from tests.unit.cli.test_dlq import START, letter

from penstock.core import deadletters, letter_condition, lineage, markers, selection

State = selection.State
LOG = lineage.Lineage(log_id="log-1", former=[lineage.Former(log_id="log-0", ends=[7])])


def marker(number: int, attempt: int, offset: int = 0, kind: markers.Kind = markers.Kind.REPLAYED) -> markers.Marker:
    return markers.Marker(
        kind=kind,
        id=letter(number).id,
        lane="shop/orders/warehouse",
        attempt=attempt,
        replay_offset=offset,
        at_microseconds=START,
    )


def marks(*those: markers.Marker) -> selection.Marks:
    made = selection.Marks()
    for one in those:
        made.add(one, 0)
    return made


DISCARDED = markers.Kind.DISCARDED


@pytest.mark.parametrize(
    ("attempt", "those", "finished", "state"),
    [
        (1, [], 0, State.OUTSTANDING),
        (1, [marker(1, 1, 4)], 4, State.REPLAYING),
        (1, [marker(1, 1, 4)], 5, State.LANDED),
        (2, [marker(1, 1, 4)], 5, State.OUTSTANDING),
        (2, [marker(1, 1, 4), marker(1, 2, 9)], 9, State.REPLAYING),
        (2, [marker(1, 1, 4), marker(1, 2, 9)], 10, State.LANDED),
        (3, [marker(1, 2)], 9, State.OUTSTANDING),
        (4, [marker(1, 3)], 9, State.QUARANTINED),
        (1, [marker(1, 1, kind=DISCARDED)], 0, State.DISCARDED),
        (2, [marker(1, 1, kind=DISCARDED)], 0, State.OUTSTANDING),
        (4, [marker(1, 4, kind=DISCARDED)], 0, State.DISCARDED),
        (1, [marker(2, 1)], 9, State.OUTSTANDING),
    ],
    ids=str,
)
def test_a_state_follows_from_letter_markers_and_progress(attempt, those, finished, state):
    """Catches a letter that is replayed twice, or that failed again and is taken for landed."""
    random.Random(len(those)).shuffle(those)
    progress = selection.Progress(replays_finished=finished)
    assert marks(*those).state(letter(1, attempt=attempt), progress) is state


def test_a_higher_bound_frees_what_is_quarantined():
    """Catches a letter that nobody can ever replay again."""
    assert marks().state(letter(1, attempt=4), selection.Progress(), max_replays=4) is State.OUTSTANDING


def test_what_no_marker_speaks_of_begins_after_the_last_that_one_does():
    """Catches a crash between publish and marker that is not noticed: the letters would be published twice."""
    made = marks(marker(1, 1, 4), marker(2, 1, 2), marker(3, 1, kind=DISCARDED))
    assert made.unmarked_from("shop/orders/warehouse", 0) == 5
    assert made.unmarked_from("shop/orders/warehouse", 1) == 0
    assert made.unmarked_from("shop/orders/archive", 0) == 0


@pytest.mark.parametrize(
    ("changes", "progress", "settled"),
    [
        ({"offset": 4, "attempt": 1}, {"events_finished": 4}, False),
        ({"offset": 4, "attempt": 1}, {"events_finished": 5}, True),
        ({"offset": 4, "attempt": 1, "log_id": "an older log"}, {}, True),
        ({"offset": 4, "attempt": 1, "log_id": "log-0"}, {"events_finished": 4}, False),
        ({"offset": 4, "attempt": 1, "log_id": "log-0"}, {"events_finished": 5}, True),
        ({"offset": 7, "attempt": 1, "log_id": "log-0"}, {"events_finished": 4}, True),
        ({"offset": 4, "attempt": 2}, {"events_finished": 5, "replays_finished": 2, "replays_end": 3}, False),
        ({"offset": 4, "attempt": 2}, {"replays_finished": 3, "replays_end": 3}, True),
    ],
    ids=str,
)
def test_only_what_its_lane_is_done_with_may_be_replayed(changes, progress, settled):
    """Catches a replay of a row that the lane, after a crash, would try again by itself: it would land twice."""
    assert selection.is_settled(letter(1, **changes), LOG, selection.Progress(**progress)) is settled


@pytest.mark.parametrize(
    ("filters", "admitted"),
    [
        ({}, True),
        ({"categories": frozenset({"TransformFailed"})}, True),
        ({"categories": frozenset({"Malformed"})}, False),
        ({"sinks": frozenset({"archive"})}, False),
        ({"expressions": frozenset({"departed_at"})}, True),
        ({"expressions": frozenset({"arrived_at"})}, False),
        ({"since_microseconds": START}, True),
        ({"since_microseconds": START + 1}, False),
        ({"until_microseconds": START + 1}, True),
        ({"until_microseconds": START}, False),
        ({"fingerprints": frozenset({selection.fingerprint_id("TransformFailed: could not parse ?")[:5]})}, True),
        ({"fingerprints": frozenset({"zzz"})}, False),
        ({"sinks": frozenset({"warehouse"}), "expressions": frozenset({"arrived_at"})}, False),
        ({"where": "error_message LIKE '%parse%'"}, True),
        ({"where": "error_message LIKE '%Nullable%'"}, False),
        ({"sinks": frozenset({"archive"}), "where": "true"}, False),
    ],
    ids=str,
)
def test_filters_must_all_admit_a_letter(filters, admitted):
    """Catches a filter that is not asked, and one that is enough alone."""
    told = {name: letter_condition.Condition(value) if name == "where" else value for name, value in filters.items()}
    assert selection.Filters(**told).admit([letter(1, failed_at_microseconds=START)]) == [admitted]


def test_replays_go_in_the_order_of_addresses():
    """Catches an order by time of failure, which batches of different sizes mix up."""
    those = [
        letter(1, offset=2, ordinal=0, items=()),
        letter(2, offset=1, ordinal=7, items=(3,)),
        letter(3, offset=1, ordinal=7, items=(1,)),
        letter(4, partition=1, offset=0),
        letter(5, offset=1, ordinal=6, unit=deadletters.Unit.EVENT, items=()),
        letter(6, offset=9, log_id="log-0"),
    ]
    ordered = sorted(those, key=lambda one: selection.in_address_order(one, LOG))
    assert [int(one.id[:8], 16) for one in ordered] == [6, 5, 3, 2, 1, 4]
