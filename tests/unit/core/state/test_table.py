"""The state of keys against a dictionary that is told one event after the other."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.state import snapshot, spec, table

PAGE = pa.field("page", pa.string())
AT = pa.field("at", pa.timestamp("us", tz="UTC"))
PRICE = pa.field("price", pa.decimal128(18, 4))
OK = pa.field("ok", pa.bool_())
FIELDS = [pa.field("user", pa.string()), pa.field("shop", pa.int64()), pa.field("amount", pa.int64()), PAGE, AT, PRICE, OK]


def value(kind: spec.Kind, name: str, field: str = "", type_: pa.DataType | None = None) -> spec.Value:
    return spec.Value(kind=kind, column=pa.field(name, type_ or pa.int64()), field=field)


VALUES = (
    value(spec.Kind.COUNT, "before"),
    value(spec.Kind.SUM, "spent", "amount"),
    value(spec.Kind.LAST, "last_page", "page", pa.string()),
    value(spec.Kind.LAST, "last_at", "at", AT.type),
    value(spec.Kind.LAST, "last_price", "price", PRICE.type),
    value(spec.Kind.LAST, "last_ok", "ok", OK.type),
)
KEY_TYPES = ("string", "int64")


def told(most: int = 1_000, values: tuple[spec.Value, ...] = VALUES) -> spec.StateSpec:
    return spec.StateSpec(key=("user", "shop"), max_keys=most, values=values)


class Plain:
    """The rule in Python: an event at a time, keys in the order in which they were seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Any, list[Any]] = {}
        self.evicted = 0

    def see(self, block: list[dict[str, Any]], counted: list[bool]) -> list[list[Any]]:
        found: list[list[Any]] = []
        for event, counts in zip(block, counted, strict=True):
            if not counts:
                found.append([None] * len(VALUES))
                continue
            key = (event["user"], event["shop"])
            known = self._known.pop(key, [0, 0, None, None, None, None])
            sum_fits = -(2**63) <= known[1] < 2**63
            found.append([known[0], known[1] if sum_fits else None, *known[2:]])
            after = [known[0] + 1, known[1] + (event["amount"] or 0)]
            for at, name in enumerate(("page", "at", "price", "ok"), start=2):
                after.append(known[at] if event[name] is None else event[name])
            if event["page"] is not None and len(event["page"].encode()) > spec.MOST_VALUE_BYTES:
                after[2] = None
            self._known[key] = after
        if len(self._known) > self._most:
            gone = list(self._known)[: len(self._known) - max(1, self._most * 3 // 4)]
            self.evicted += len(gone)
            for key in gone:
                del self._known[key]
        return found


def batch(events: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(events, schema=pa.schema(FIELDS))


def rows(found: list[pa.Array]) -> list[list[Any]]:
    return [list(row) for row in zip(*(column.to_pylist() for column in found), strict=True)]


EVENT = st.fixed_dictionaries(
    {
        "user": st.sampled_from([f"u{number}" for number in range(8)]),
        "shop": st.integers(0, 1),
        "amount": st.one_of(st.none(), st.sampled_from([0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63)])),
        "page": st.one_of(st.none(), st.sampled_from(["", "a", "ü", "x" * 1_024, "x" * 1_025])),
        "at": st.one_of(st.none(), st.datetimes(timezones=st.just(datetime.UTC))),
        "price": st.one_of(st.none(), st.decimals(-9999, 9999, places=4)),
        "ok": st.one_of(st.none(), st.booleans()),
    }
)
BLOCK = st.lists(st.tuples(EVENT, st.sampled_from([True, True, True, False])), max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(BLOCK, st.booleans()), max_size=12), st.sampled_from([1, 3, 8, 100]))
def test_every_event_finds_what_a_dictionary_would_say(log: list[Any], most: int) -> None:
    """Catches a key's events taken out of order, a NULL that overwrites, a duplicate that counts, a key evicted too early or
    too late, and anything a snapshot loses."""
    known, plain = table.StateTable(told(most)), Plain(most)
    for block, restarts in log:
        events, counted = [event for event, _ in block], [counts for _, counts in block]
        assert rows(known.see(batch(events), np.array(counted, bool))) == plain.see(events, counted)
        if restarts:
            content = snapshot.encode(known, KEY_TYPES, None)
            evicted, known = known.evicted, snapshot.Decoded(content).table(told(most))
            known.evicted = evicted
    assert known.evicted == plain.evicted


def test_a_sliced_batch_is_read_where_it_begins() -> None:
    """Catches values read from the start of a shared buffer."""
    events = [{"user": "u", "shop": 1, "amount": number, "ok": number % 2 == 0} for number in range(10)]
    known = table.StateTable(told(values=(VALUES[1], VALUES[5])))
    known.see(batch(events).slice(3, 2), np.ones(2, bool))
    assert rows(known.see(batch(events).slice(9, 1), np.ones(1, bool))) == [[7, True]]


def test_values_that_are_added_begin_empty_and_the_others_go_on() -> None:
    """Catches a change that starts everything anew."""
    known = table.StateTable(told(values=VALUES[:1]))
    one = batch([{"user": "u", "shop": 1, "amount": 5, "page": "p"}])
    known.see(one, np.ones(1, bool))
    known.change(told(values=VALUES[1:3] + VALUES[:1]))
    assert rows(known.see(one, np.ones(1, bool))) == [[0, None, 1]]
    assert rows(known.see(one, np.ones(1, bool))) == [[5, "p", 2]]


def test_a_snapshot_gives_back_only_values_that_still_mean_the_same() -> None:
    """Catches a value that goes on with what another field or another kind has left."""
    known = table.StateTable(told())
    known.see(batch([{"user": "u", "shop": 1, "amount": 5, "page": "p"}]), np.ones(1, bool))
    kept = snapshot.Decoded(snapshot.encode(known, KEY_TYPES, None))
    other = told(values=(VALUES[0], value(spec.Kind.LAST, "spent", "amount"), value(spec.Kind.COUNT, "last_page")))
    assert kept.is_of(other, KEY_TYPES)
    assert not kept.equals(other)
    assert [one.name for one in kept.table(other).spec.values] == ["before"]
    assert not kept.is_of(other, ("string", "int32"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:8] + b"\x02\x00\x00\x00" + content[12:], "version 2"),
        (lambda content: b"something" + content, "no Penstock wrote"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "not what was written"),
        (lambda content: content[:5], "no Penstock wrote"),
    ],
    ids=["version", "magic", "bit", "cut"],
)
def test_bytes_that_are_no_snapshot_of_ours_are_refused_with_the_reason(spoil: Any, words: str) -> None:
    """Catches state that is quietly empty, or wrong, after a downgrade or a damaged disk."""
    content = snapshot.encode(table.StateTable(told()), KEY_TYPES, None)
    with pytest.raises(snapshot.SnapshotError, match=words):
        snapshot.Decoded(spoil(content))


def test_a_flood_of_new_keys_stays_within_the_bound() -> None:
    """Catches memory that grows with the keys ever seen; 150 bytes a key hold a number and a short text."""
    most = 20_000
    known = table.StateTable(told(most, VALUES[:3]))
    for first in range(0, 300_000, 50_000):
        users = pa.array([f"user-{number}" for number in range(first, first + 50_000)])
        page = pa.array(["/a/page"] * 50_000)
        amounts = pa.array(np.arange(50_000))
        block = pa.RecordBatch.from_arrays([users, amounts, amounts, page], names=["user", "shop", "amount", "page"])
        known.see(block, np.ones(50_000, bool))
        assert known.keys <= most
    assert known.evicted == 300_000 - known.keys
    assert known.memory_bytes < 20_000 * 300
