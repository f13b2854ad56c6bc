"""Deduplication against a brute-force reading of its rule, and key hashes against a plain one."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core import dedup
from penstock.core.dedup import generation

MASK = 2**64 - 1


def mix(word: int) -> int:
    """SplitMix64's finaliser on Python integers."""
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
    return word ^ word >> 31


def plain_value_hash(value: object) -> int:
    if value is None:
        return 0xA0761D6478BD642F
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        if len(data) >= 256:
            return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        state = mix((0x9E3779B97F4A7C15 + len(data)) & MASK)
        for first in range(0, len(data), 8):
            state = mix(state ^ int.from_bytes(data[first : first + 8], "little"))
        return state
    if isinstance(value, float):
        value = struct.unpack("<q", struct.pack("<d", math.nan if math.isnan(value) else value + 0.0))[0]
    assert isinstance(value, int)
    return mix(0xD6E8FEB86659FD93 ^ value & MASK)


def plain_hash(row: Sequence[object]) -> int:
    state, *rest = map(plain_value_hash, row)
    for column in rest:
        state = mix((state * 0xBF58476D1CE4E5B9 & MASK) ^ column)
    return state or 1


KEY_VALUES = {
    pa.string(): st.text(max_size=20) | st.integers(250, 260).map(lambda length: "x" * length),
    pa.binary(): st.binary(max_size=20),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.float64(): st.floats() | st.sampled_from([0.0, -0.0]),
}


@st.composite
def key_columns(draw: st.DrawFn) -> list[pa.Array]:
    rows = draw(st.integers(0, 12))
    kinds = draw(st.lists(st.sampled_from(list(KEY_VALUES)), min_size=1, max_size=3))
    lists = [draw(st.lists(st.none() | KEY_VALUES[kind], min_size=rows, max_size=rows)) for kind in kinds]
    return [pa.array(values, kind) for values, kind in zip(lists, kinds, strict=True)]


@given(key_columns())
@settings(max_examples=100)
def test_keys_hash_as_the_documented_formula_says(columns: list[pa.Array]) -> None:
    """Catches a changed constant, a word read too far or too short, a NULL that hashes as what lies under it."""
    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))
    assert dedup.hash_keys(columns).tolist() == [plain_hash(row) for row in rows]


def test_the_hash_is_the_same_on_every_machine_and_release() -> None:
    """Catches a change of the format, also one made in the formula above as well."""
    ids = pa.array(["8f14e45f-ceea-467a-9575-1d2b6e0a1b2c", "", None, "a", "ä" * 200])
    assert [f"{key:016x}" for key in dedup.hash_keys([ids]).tolist()] == [
        "b586d4892afdcc60",
        "e220a8397b1dcdaf",
        "a0761d6478bd642f",
        "3e506e5796335af0",
        "48cb278836672277",
    ]
    others = [
        pa.array([datetime.datetime(2013, 1, 1, 5, tzinfo=datetime.UTC)], pa.timestamp("us", "UTC")),
        pa.array([datetime.date(2013, 1, 1)]),
        pa.array([decimal.Decimal("-12.50")], pa.decimal128(18, 4)),
        pa.array([True]),
    ]
    assert [f"{key:016x}" for key in dedup.hash_keys(others).tolist()] == ["25d0109a84ece9b1"]


def layouts(column: pa.Array) -> dict[str, pa.Array | pa.ChunkedArray]:
    """The same values, laid out in other ways."""
    around = pa.concat_arrays([column.slice(0, 2), column, column.slice(1, 1)])
    half = len(column) // 2
    return {
        "slice": around.slice(2, len(column)),
        "chunks": pa.chunked_array([column.slice(0, half), column.slice(0, 0), column.slice(half)]),
        "dictionary": column.dictionary_encode(),
        "chunked dictionary": pa.chunked_array([column.slice(0, half), column.slice(half)]).dictionary_encode(),
        "null in the dictionary": column.dictionary_encode(null_encoding="encode"),
    }


TEXT = ["a", "bcd", None, "", "0123456789abcdef", "x" * 300, "bcd"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXT),
        pa.array(["0123456789", "abcdefghij", "9876543210"]),
        pa.array(["012", "abc", "987"]),
        pa.array([1, None, -5, 2**40]),
        pa.array([decimal.Decimal("1.5"), None, decimal.Decimal("-70000000000000.25")], pa.decimal128(38, 4)),
        pa.array([decimal.Decimal("1.5"), decimal.Decimal("-7"), decimal.Decimal(0)], pa.decimal128(38, 4)),
        pa.array([True, None, False]),
    ],
    ids=lambda column: f"{column.type}, {column.null_count} NULL",
)
def test_how_arrow_lays_a_column_out_does_not_matter(column: pa.Array) -> None:
    """Catches offsets that forget a slice's start and indices that forget the dictionary."""
    expected = dedup.hash_keys([column]).tolist()
    found = {name: dedup.hash_keys([laid_out]).tolist() for name, laid_out in layouts(column).items()}
    assert found == dict.fromkeys(found, expected)


def test_types_that_hold_the_same_values_hash_the_same() -> None:
    """Catches a hash of the physical type: large_string, views and narrower integers would be other keys."""
    text = dedup.hash_keys([pa.array(TEXT)]).tolist()
    for kind in (pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()):
        assert dedup.hash_keys([pa.array(TEXT).cast(kind)]).tolist() == text
    fixed = [b"0123456789abcdef", None]
    assert dedup.hash_keys([pa.array(fixed, pa.binary(16))]).tolist() == dedup.hash_keys([pa.array(fixed)]).tolist()
    assert dedup.hash_keys([pa.array(fixed, pa.uuid())]).tolist() == dedup.hash_keys([pa.array(fixed)]).tolist()
    numbers = dedup.hash_keys([pa.array([0, 200, None])]).tolist()
    for kind in (pa.uint8(), pa.int16(), pa.uint32(), pa.int32(), pa.uint64()):
        assert dedup.hash_keys([pa.array([0, 200, None], kind)]).tolist() == numbers


def test_equal_floats_hash_the_same() -> None:
    """Catches a hash of the bits: there are two zeros and many NaNs."""
    nans = np.array([0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001], np.uint64).view(np.float64)
    assert len(set(dedup.hash_keys([pa.array(nans)]).tolist())) == 1
    assert len(set(dedup.hash_keys([pa.array([0.0, -0.0])]).tolist())) == 1


def test_what_lies_under_a_null_does_not_matter() -> None:
    """Catches hashing the bytes of a NULL, which Arrow leaves undefined."""
    seen = pa.array(["secret", "a"])
    hidden = pa.StringArray.from_buffers(2, seen.buffers()[1], seen.buffers()[2], pa.py_buffer(b"\x02"))
    assert hidden.to_pylist() == [None, "a"]
    assert dedup.hash_keys([hidden]).tolist() == dedup.hash_keys([pa.array([None, "a"])]).tolist()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a", "b"), ("b", "a")),
        (("", "a"), ("a", "")),
        ((None, "a"), ("a", None)),
        ((None, "a"), ("", "a")),
        (("a", "a"), ("b", "b")),
        (("a\0", "b"), ("a", "\0b")),
        (("a\0", "b"), ("a", "b")),
    ],
    ids=str,
)
def test_keys_of_several_columns_are_not_confused(left: tuple[str | None, ...], right: tuple[str | None, ...]) -> None:
    """Catches joining the columns' text, adding or xoring their hashes, and padding that hides a length."""
    hashes = dedup.hash_keys([pa.array(pair) for pair in zip(left, right, strict=True)])
    assert hashes[0] != hashes[1]


def test_neighbouring_ids_do_not_collide() -> None:
    """Catches a weak mix: ids that differ in a few low bits of several words are where one shows."""
    numbers = np.arange(200_000)
    texts = pa.array([f"{n % 10}.......{n // 10 % 10}.......{n // 100 % 10}.......{n // 1000}" for n in numbers.tolist()])
    for columns in ([pa.array(numbers)], [texts], [pa.array(numbers % 500), pa.array(numbers // 500)]):
        hashes = dedup.hash_keys(columns)
        assert len(np.unique(hashes)) == len(numbers)
        assert len(np.unique(hashes >> np.uint64(40))) > 0.99 * len(numbers)


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([{"a": 1}])], ids=lambda column: str(column.type))
def test_a_key_of_lists_or_structs_is_refused(column: pa.Array) -> None:
    """Catches hashing the offsets of a nested column as if they were values."""
    with pytest.raises(TypeError, match="can't be part of a key"):
        dedup.hash_keys([column])


def test_a_key_without_columns_is_refused() -> None:
    """Catches a key that is the same for every event."""
    with pytest.raises(ValueError, match="at least one column"):
        dedup.hash_keys([])


Block = tuple[int, list[int]]


def brute_force(blocks: Sequence[Block], window: int, max_events: int) -> list[bool]:
    """The rule, word by word: any earlier event with this key within both bounds."""
    events = [(time, key) for time, keys in blocks for key in keys]
    return [
        any(
            events[before][1] == key and here - before <= max_events and time - events[before][0] <= window
            for before in range(here)
        )
        for here, (time, key) in enumerate(events)
    ]


def judged(table: dedup.DedupTable, blocks: Sequence[Block]) -> list[bool]:
    return [bool(v) for time, keys in blocks for v in table.judge(time, spread(keys))]


def spread(keys: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Few hashes with crowded slots: the same first slot, and the same filter word, for very different keys."""
    return np.array([key << 60 | 1 << 45 if key < 8 else key for key in keys], np.uint64)


@st.composite
def logs(draw: st.DrawFn) -> list[Block]:
    gaps_and_keys = draw(st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(1, 12), max_size=8)), max_size=25))
    time, blocks = 1_000, []
    for gap, keys in gaps_and_keys:
        time += gap
        blocks.append((time, keys))
    return blocks


@given(logs(), st.integers(0, 20), st.integers(1, 30))
@settings(max_examples=150)
@example([(0, [1]), (10, [1])], 10, 5)
@example([(0, [1]), (11, [1])], 10, 5)
@example([(0, [1, 2, 3, 1])], 10, 3)
@example([(0, [1, 2, 3, 4, 1])], 10, 3)
def test_verdicts_are_those_of_the_rule(blocks: list[Block], window: int, max_events: int) -> None:
    """Catches < for <= in either bound, a duplicate that is not remembered, an older position that wins, and a generation
    dropped too soon."""
    table = dedup.DedupTable(window_microseconds=window, max_events=max_events)
    assert judged(table, blocks) == brute_force(blocks, window, max_events)
    assert table.head == sum(len(keys) for _, keys in blocks)


@given(logs(), st.integers(0, 20), st.integers(1, 30), st.data())
@settings(max_examples=100)
def test_a_rebuilt_table_judges_as_the_one_that_was_never_lost(
    blocks: list[Block], window: int, max_events: int, data: st.DataObject
) -> None:
    """Catches a rebuild that starts too late, by events or by time."""
    cut = data.draw(st.integers(0, len(blocks)))
    whole = judged(dedup.DedupTable(window_microseconds=window, max_events=max_events), blocks)
    below = [(time, len(keys)) for time, keys in reversed(blocks[:cut])]
    again = dedup.rebuild_blocks(below, window_microseconds=window, max_events=max_events)
    table = dedup.DedupTable(window_microseconds=window, max_events=max_events)
    judged(table, blocks[cut - again : cut])
    rest = judged(table, blocks[cut:])
    assert rest == whole[len(whole) - len(rest) :]


def test_a_rebuild_reads_no_more_than_it_needs() -> None:
    """Catches a rebuild that walks back to the start of the log."""
    seen = iter([(100, 10), (90, 10), (80, 10), (70, 10), (60, 10)])
    assert dedup.rebuild_blocks(seen, window_microseconds=15, max_events=1_000) == 2
    assert next(seen) == (70, 10)
    assert dedup.rebuild_blocks([(5, 10), (4, 10), (3, 10)], window_microseconds=1_000, max_events=20) == 2
    assert dedup.rebuild_blocks([], window_microseconds=1_000, max_events=20) == 0


def exact_over_many_ids(*, ids: int, block: int, window: int, max_events: int, seed: int) -> dedup.DedupTable:
    """Judge `ids` events, a third of them repeats from anywhere, and compare each verdict with a dictionary's."""
    random = np.random.default_rng(seed)
    table = dedup.DedupTable(window_microseconds=window, max_events=max_events)
    last: dict[int, tuple[int, int]] = {}
    for first in range(0, ids, block):
        fresh = np.arange(first, first + block)
        numbers = np.where(random.random(block) < 0.33, random.integers(0, first + block, block), fresh)
        expected = []
        for place, key in enumerate(numbers.tolist(), start=first):
            position, time = last.get(key, (-max_events - 1, -1))
            expected.append(place - position <= max_events and first - time <= window)
            last[key] = place, first
        assert table.judge(first, dedup.hash_keys([pa.array(numbers)])).tolist() == expected
    return table


@pytest.mark.parametrize(
    ("block", "window", "max_events"),
    [(20_000, 10**9, 40_000), (1_000, 60_000, 10**6), (997, 30_000, 20_000)],
    ids=["by events", "by time", "by both"],
)
def test_no_id_is_dropped_wrongly_or_let_through_among_many(block: int, window: int, max_events: int) -> None:
    """Catches a filter that says "definitely new" of a key that is there, a lost key when a table grows, and a block larger
    than a slice that is judged as two."""
    table = exact_over_many_ids(ids=100_000, block=block, window=window, max_events=max_events, seed=7)
    assert table.evicted > 0
    assert table.remembered < 100_000


def test_memory_per_remembered_id_stays_below_twenty_bytes() -> None:
    """Catches a slot that grows, a closed generation that is half empty, and generations that are not dropped."""
    random = np.random.default_rng(1)
    table = dedup.DedupTable(window_microseconds=10**9, max_events=200_000)
    for first in range(0, 600_000, 1_000):
        table.judge(first, random.integers(1, 2**64, 1_000, dtype=np.uint64))
        assert table.remembered <= 1.5 * 200_000
        assert first < 200_000 or table.memory_bytes <= 20 * table.remembered


@pytest.mark.parametrize("keys", [1, 10_000], ids=["one key", "many keys"])
def test_a_thin_stream_keeps_no_more_than_its_window(keys: int) -> None:
    """Catches generations that wait until they are full: repeats and slow streams never fill them."""
    table = dedup.DedupTable(window_microseconds=100, max_events=1_000)
    for time in range(2_000):
        table.judge(time, np.array([time % keys + 1], np.uint64))
    assert table.remembered <= 200
    assert table.memory_bytes < 100_000


def test_a_key_that_repeats_is_remembered_once() -> None:
    """Catches a count of events where keys are meant: tables would grow and close for nothing."""
    table = dedup.DedupTable(window_microseconds=100, max_events=1_000)
    table.judge(0, np.array([1, 2, 2, 1], np.uint64))
    table.judge(1, np.array([1, 3], np.uint64))
    assert (table.remembered, table.head, table.evicted) == (3, 6, 0)
    table.judge(200, np.array([4], np.uint64))
    assert (table.remembered, table.head, table.evicted) == (1, 7, 3)


def test_the_filter_lets_few_look_ups_through() -> None:
    """Catches a filter that is built from other bits than it is asked with, or from too few."""
    random = np.random.default_rng(3)
    keys = random.integers(1, 2**64, 12_000, dtype=np.uint64)
    part = generation.Generation(base=0, first_time=0, capacity=16_384)
    part.record(keys)
    part.close()
    others = random.integers(1, 2**64, 12_000, dtype=np.uint64)
    assert part.may_hold(keys, generation.bloom_bits(keys)).all()
    assert part.may_hold(others, generation.bloom_bits(others)).mean() < 0.05


def test_append_time_that_goes_backwards_is_refused() -> None:
    """Catches a block that is judged twice or out of order."""
    table = dedup.DedupTable(window_microseconds=10, max_events=10)
    table.judge(5, np.array([1], np.uint64))
    with pytest.raises(ValueError, match="offset order"):
        table.judge(4, np.array([1], np.uint64))


@pytest.mark.parametrize(("window", "max_events"), [(-1, 5), (5, 0), (5, 2**31 + 1)])
def test_impossible_windows_are_refused(window: int, max_events: int) -> None:
    """Catches a window that makes every verdict False, and distances that overflow."""
    with pytest.raises(ValueError, match="deduplicate"):
        dedup.DedupTable(window_microseconds=window, max_events=max_events)


def test_a_hash_of_zero_is_refused() -> None:
    """Catches the key that reads as an empty slot: it would be new for ever."""
    with pytest.raises(ValueError, match="0 is not"):
        dedup.DedupTable(window_microseconds=5, max_events=5).judge(0, np.zeros(1, np.uint64))
