"""What changes an embedded log, one transaction at a time, with clocks and disks that do as they are told."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import pytest

from penstock.log import port
from penstock.log.embedded import reader as embedded_reader
from penstock.log.embedded import schema as embedded_schema
from penstock.log.embedded import store as embedded_store

SECOND = 1_000_000_000
START_MICROSECONDS = 1_700_000_000_000_000


@dataclasses.dataclass
class Machine:
    """Clocks in nanoseconds and a disk in bytes, set by the test."""

    wall: int = START_MICROSECONDS * 1_000
    monotonic: int = 77
    free: int = 1 << 40

    def host(self) -> embedded_store.Host:
        return embedded_store.Host(
            wall_nanoseconds=lambda: self.wall,
            monotonic_nanoseconds=lambda: self.monotonic,
            free_bytes=lambda _: self.free,
            new_id=lambda: "log-1",
        )


@contextlib.contextmanager
def opened(path: pathlib.Path, machine: Machine, max_bytes: int | None = None) -> Iterator[embedded_store.Store]:
    if not path.exists():
        embedded_schema.create(path, embedded_schema.Identity(log_id="log-1", partitions=2))
    with contextlib.closing(embedded_schema.open_writer(path)) as connection:
        yield embedded_store.Store(connection, path, partitions=2, max_bytes=max_bytes, host=machine.host())


def do(store: embedded_store.Store, operation: embedded_store.Operation) -> embedded_store.Outcome:
    """One operation in a transaction of its own; an unfinished one is gone on with."""
    store.begin()
    try:
        outcome = store.apply(operation)
    finally:
        store.commit()
    return do(store, operation) if isinstance(outcome, embedded_store.Unfinished) else outcome


def append(sequence: int, *, producer: str = "p", partition: int = 0, value: bytes = b"v") -> embedded_store.Append:
    record = port.NewRecord(value=value, headers={}, producer=producer, sequence=sequence)
    return embedded_store.Append(topic=port.EVENTS, partition=partition, record=record)


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "log.db"


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def store(path, machine) -> Iterator[embedded_store.Store]:
    with opened(path, machine) as store:
        yield store


def append_many(store: embedded_store.Store) -> None:
    for sequence in range(100):
        do(store, append(sequence, value=b"x" * 100_000))


def count(path: pathlib.Path, table: str) -> int:
    with contextlib.closing(embedded_schema.open_reader(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_append_time_is_the_wall_clock_at_the_start_and_then_the_monotonic_one(store, machine):
    """Catches a time read from the wall clock at each append, which a clock set back would send backwards."""
    machine.wall -= 3_600 * SECOND
    machine.monotonic += 5 * SECOND
    assert do(store, append(0)) == port.Appended(offset=0, append_time_microseconds=START_MICROSECONDS + 5_000_000)


def test_append_time_goes_on_from_the_last_one_after_a_start_with_a_clock_set_back(path, machine):
    """Catches a start that trusts the wall clock over what is in the log."""
    with opened(path, machine) as store:
        machine.monotonic += 60 * SECOND
        do(store, append(0))
    machine.wall -= 3_600 * SECOND
    with opened(path, machine) as store:
        machine.monotonic += 1 * SECOND
        assert do(store, append(1)).append_time_microseconds == START_MICROSECONDS + 61_000_000


def test_a_record_sent_again_is_answered_with_where_it_stands(path, store, machine):
    """Catches a re-send that is written again, or that is told the newest offset."""
    do(store, append(0, producer="other"))
    first = do(store, append(0))
    do(store, append(1))
    machine.monotonic += SECOND
    assert do(store, append(0)) == dataclasses.replace(first, resent=True)
    assert count(path, "record") == 3


def test_the_same_producer_and_sequence_in_another_partition_is_another_record(store):
    """Catches an identity that forgets the partition."""
    assert not do(store, append(0, partition=0)).resent
    assert not do(store, append(0, partition=1)).resent


def test_a_record_sent_again_after_it_was_trimmed_is_still_a_resend(path, store):
    """Catches sequences that are known only as long as their records."""
    do(store, append(0))
    do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=1))
    assert do(store, append(0)) == port.Appended(offset=-1, append_time_microseconds=START_MICROSECONDS, resent=True)
    assert count(path, "record") == 0


@pytest.mark.parametrize(("known", "sent"), [(0, 1), (0, -1), (2, 3), (2, 9), (2, -1)], ids=str)
def test_a_gap_in_the_sequences_is_refused_with_what_was_expected(path, store, known, sent):
    """Catches a lost block that goes unnoticed, and a new producer that starts in the middle."""
    for sequence in range(known):
        do(store, append(sequence))
    with pytest.raises(port.LogError, match=f"sequence {sent}, {known} was expected"):
        do(store, append(sent if sent != known else sent + 1))
    assert count(path, "record") == known


def test_a_refused_append_leaves_its_neighbours_in_the_transaction(path, store):
    """Catches a refusal that rolls back everybody."""
    store.begin()
    store.apply(append(0))
    with pytest.raises(port.LogError):
        store.apply(append(5))
    store.apply(append(1))
    store.commit()
    assert count(path, "record") == 2


def test_a_full_log_refuses_appends_and_takes_them_again_after_a_trim(path, machine):
    """Catches a bound on the file instead of on what it holds, and a refusal that loses what was there."""
    with opened(path, machine, max_bytes=2 << 20) as store:
        with pytest.raises(port.LogFullError, match=r"retention\.maxBytes"):
            append_many(store)
        accepted = count(path, "record")
        assert 15 <= accepted <= 20
        do(store, embedded_store.CommitGroup(topic=port.EVENTS, group="g", commits={0: port.Commit(offset=accepted)}))
        do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=accepted // 2))
        assert do(store, append(accepted, value=b"x" * 100_000)).offset == accepted


def test_a_full_log_still_takes_the_letters_that_let_it_be_trimmed(path, machine):
    """Catches a deadlock: the first block of a full log needs a dead letter, and nothing can be finished without it."""
    with opened(path, machine, max_bytes=2 << 20) as store:
        with pytest.raises(port.LogFullError):
            append_many(store)
        letter = port.NewRecord(value=b"x" * 100_000, headers={}, producer="letters", sequence=0)
        kept = embedded_store.Append(topic=port.DEAD_LETTERS, partition=0, record=letter)
        assert do(store, kept).offset == 0


def test_every_append_sent_at_once_to_a_full_log_hears_that_it_is_full(store, machine):
    """Catches the second of two being told of a gap, which it can do nothing about, instead of being told to wait."""
    machine.free = 0
    for sequence in (0, 1):
        with pytest.raises(port.LogFullError):
            do(store, append(sequence))


def test_a_resend_is_answered_even_when_the_log_is_full(path, machine):
    """Catches a producer that can never learn that its block is safe."""
    with opened(path, machine) as store:
        do(store, append(0))
        machine.free = 0
        with pytest.raises(port.LogFullError, match="disk"):
            do(store, append(1))
        assert do(store, append(0)).resent
        machine.free = 1 << 40
        assert do(store, append(1)).offset == 1


@pytest.mark.parametrize(
    ("commit", "message"),
    [
        (port.Commit(offset=2), "ends at 1"),
        (port.Commit(offset=-1), "offset -1"),
        (port.Commit(offset=1, metadata="é" * 1_751), "3,502 bytes"),
    ],
    ids=["ahead", "negative", "metadata"],
)
def test_a_commit_that_cannot_be_true_is_refused_whole(path, store, commit, message):
    """Catches a commit ahead of the log, metadata another log could not hold, and half a commit."""
    do(store, append(0))
    commits = {1: port.Commit(offset=0), 0: commit}
    with pytest.raises(port.LogError, match=message):
        do(store, embedded_store.CommitGroup(topic=port.EVENTS, group="g", commits=commits))
    assert count(path, "group_commit") == 0


def test_trimming_what_was_never_written_is_refused(store):
    """Catches a start that goes beyond the end."""
    do(store, append(0))
    with pytest.raises(port.OffsetOutOfRangeError, match="ends at 1"):
        do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=2))


def test_a_trim_of_much_goes_in_steps_that_leave_a_whole_log(path, store):
    """Catches a step that moves the start without its records, and an appender that waits for the whole trim."""
    store.begin()
    for sequence in range(2_500):
        store.apply(append(sequence))
    store.commit()
    steps = []
    outcome: object = embedded_store.Unfinished()
    while outcome is not None:
        store.begin()
        outcome = store.apply(embedded_store.Trim(topic=port.EVENTS, partition=0, before=2_400))
        store.commit()
        with contextlib.closing(embedded_schema.open_reader(path)) as connection:
            start = embedded_reader.bounds(connection, port.EVENTS, 0).start
        steps.append(start)
        assert count(path, "record") == count(path, "value") == 2_500 - start
    assert steps == [1_000, 2_000, 2_400]


def test_producers_are_forgotten_when_they_are_quiet_and_have_no_record_left(path, store, machine):
    """Catches a table that grows with every restart of every producer, and one that forgets who may still send again."""
    do(store, append(0, producer="gone"))
    do(store, append(0, producer="has a record"))
    machine.monotonic += 3_601 * SECOND
    do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=1))
    do(store, append(0, producer="active"))
    do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=1))
    with contextlib.closing(embedded_schema.open_reader(path)) as connection:
        assert {name for (name,) in connection.execute("SELECT name FROM producer")} == {"has a record", "active"}


def test_the_file_shrinks_when_most_of_it_is_free_and_keeps_what_is_in_use(path, machine, monkeypatch):
    """Catches a log that never gives its disk back, and a shrink that takes records with it."""
    monkeypatch.setattr(embedded_store, "_SPARE_BYTES", 1 << 20)
    with opened(path, machine) as store:
        for sequence in range(40):
            do(store, append(sequence, value=bytes([sequence]) * 200_000))
        do(store, embedded_store.Trim(topic=port.EVENTS, partition=0, before=38))
        do(store, embedded_store.Shrink())
    assert path.stat().st_size < 3 << 20
    with contextlib.closing(embedded_schema.open_reader(path)) as connection:
        found = embedded_reader.records(connection, port.EVENTS, 0, 38, 1 << 20)
    assert [item.value for item in found] == [bytes([38]) * 200_000, bytes([39]) * 200_000]
