"""Numbers of a log over several topics."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.log.kafka.foreign import places

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def divided(counts):
    return places.Places(topics=[f"t{at}" for at in range(len(counts))], counts=counts)


@given(COUNTS)
def test_each_partition_of_each_topic_has_one_number(counts):
    """Catches two partitions behind one number, whose offsets would be taken for each other's."""
    made = divided(counts)
    known = [place for number in range(made.partitions) if (place := made.place(number))]
    assert len(set(known)) == len(known) == sum(counts)
    assert all(made.place(made.number(place)) == place and made.holds(place) for place in known)


@given(COUNTS, st.data())
def test_a_topic_that_grows_moves_no_other(counts, data):
    """Catches landed ranges that mean other records after a topic was given more partitions."""
    grown = [count + data.draw(st.integers(0, 3)) for count in counts]
    before, after = divided(counts), divided(grown)
    assert [before.place(number) for number in range(before.partitions) if before.place(number)] == [
        after.place(number) for number in range(before.partitions) if before.place(number)
    ]
