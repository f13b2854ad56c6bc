"""What an edit may change while events are unread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api import examples

from penstock.api import edits
from penstock.core import schema, widening

_ID: dict[str, Any] = {"name": "id", "type": "Int32", "required": True}
_NOTE: dict[str, Any] = {"name": "note", "type": "String"}


def _spec(*fields: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"schema": {"fields": [_ID, *fields]}, **rest}


def _state(name: str, key: Sequence[str] = ("id",), fields: Sequence[dict[str, Any]] = (), **rest: Any) -> dict[str, Any]:
    values = [{"name": name, "type": "Count"}]
    told = {"state": {"key": key, "values": values, **rest}}
    return {
        "schema": {"fields": [_ID, *(fields or [{**_NOTE, "required": True}])]},
        "deduplicate": {"key": ["id"]},
        "transform": told,
    }


def _refused(before: dict[str, Any], after: dict[str, Any], *, drained: bool = False) -> list[str]:
    problems = edits.check_edit(examples.made(**before), examples.made(**after), drained=drained)
    assert all(problem.message and problem.remedy for problem in problems)
    return [problem.field for problem in problems]


_STRUCT = {"name": "s", "type": "Struct", "fields": [{"name": "a", "type": "Int32"}]}
_TWO = {"fields": [{**_ID, "type": "String"}, {"name": "user", "type": "String", "required": True}]}
_KAFKA_LOG = {"type": "Kafka", "kafka": {"bootstrapServers": ["k:1"]}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_spec(), _spec(_NOTE)),
        (_spec(_NOTE), _spec()),
        (_spec({**_NOTE, "required": True}), _spec(_NOTE)),
        (_spec({**_NOTE, "type": "Int32"}), _spec({**_NOTE, "type": "Int64"})),
        (_spec({**_NOTE, "type": "Timestamp"}), _spec(_NOTE)),
        (_spec({**_NOTE, "type": "Decimal"}), _spec({**_NOTE, "type": "Decimal", "precision": 20, "scale": 5})),
        (_spec(_NOTE), _spec({**_NOTE, "path": "$.n", "coerce": True})),
        (_spec(_STRUCT), _spec({**_STRUCT, "fields": [{"name": "b", "type": "Int32"}]})),
        (_spec(_STRUCT), _spec({**_STRUCT, "fields": [{"name": "a", "type": "Int64"}]})),
        (_state("a"), _state("b", maxKeysPerPartition=5)),
        (_state("a"), _spec(deduplicate={"key": ["id"]})),
        ({**_state("a"), "transform": {}}, _state("a")),
        (_spec(), {"schema": {"unknownFields": "Drop", "fields": [_ID]}}),
        (_spec(log={"type": "Embedded"}), _spec()),
        (_spec(deduplicate={"key": ["id"]}), _spec(deduplicate={"key": ["id"], "windowSeconds": 60})),
        (_spec(), _spec(transform={"filter": {"expression": "id > 1"}}, tracing={"sampledPerMillion": 0})),
    ],
    ids=str,
)
def test_what_older_blocks_can_be_read_under_is_allowed(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Catches an edit refused for no reason, which costs a drain."""
    assert _refused(before, after) == []


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        ("spec.schema.fields[1]", _spec(), _spec({**_NOTE, "required": True})),
        ("spec.schema.fields[1]", _spec(_NOTE), _spec({**_NOTE, "required": True})),
        ("spec.schema.fields[1]", _spec(_NOTE), _spec({**_NOTE, "type": "Int64"})),
        ("spec.schema.fields[1]", _spec({**_NOTE, "type": "Int64"}), _spec({**_NOTE, "type": "Int32"})),
        ("spec.schema.fields[1]", _spec({**_NOTE, "type": "Bytes"}), _spec(_NOTE)),
        ("spec.schema.fields[1]", _spec({**_NOTE, "type": "Uuid"}), _spec({**_NOTE, "type": "Json"})),
        (
            "spec.schema.fields[1]",
            _spec({**_NOTE, "type": "Decimal"}),
            _spec({**_NOTE, "type": "Decimal", "precision": 18, "scale": 5}),
        ),
        ("spec.schema.fields[1]", _spec(_STRUCT), _spec({**_STRUCT, "fields": [{"name": "a", "type": "Boolean"}]})),
        ("spec.transform.state.key", _state("a"), _state("a", ["id", "note"], [{**_NOTE, "required": True}])),
        ("spec.source.ingest.partitionBy", _spec(), _spec(transform=_state("a")["transform"])),
        ("spec.schema", _spec(), {}),
        ("spec.schema", {}, _spec()),
        ("spec.log.type", _spec(log={"type": "Embedded"}), _spec(log=_KAFKA_LOG)),
    ],
    ids=str,
)
def test_what_unread_events_do_not_fit_waits_for_a_drain(field: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Catches an edit that stops every lane at the first older block."""
    assert field in _refused(before, after)
    assert _refused(before, after, drained=True) == []


@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize("before", [_spec(), _spec(log={"type": "Embedded", "embedded": {"partitions": 2}})], ids=str)
def test_the_partitions_of_an_embedded_log_never_change(before: dict[str, Any], drained: bool) -> None:
    """Catches an edit that the check accepts and the log, which was made with another number, refuses."""
    after = _spec(log={"type": "Embedded", "embedded": {"partitions": 4}})
    assert _refused(before, after, drained=drained) == ["spec.log.embedded.partitions"]


def test_the_type_of_a_key_can_not_change_even_to_a_wider_one() -> None:
    """Catches 1 and "1": an unread event and its duplicate that no longer look the same."""
    wider = {"fields": [{**_ID, "type": "Int64"}]}
    (field,) = _refused(_spec(deduplicate={"key": ["id"]}), {"schema": wider, "deduplicate": {"key": ["id"]}})
    assert field == "spec.schema.fields[0]"


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ({"deduplicate": {"key": ["id"]}}, {"deduplicate": {"key": ["user", "id"]}}, "spec.deduplicate.key"),
        ({}, {"deduplicate": {"key": ["id"]}}, "spec.deduplicate.key"),
        ({"deduplicate": {"key": ["id"]}}, {}, "spec.deduplicate.key"),
        (
            {"deduplicate": {"key": ["id", "user"]}},
            {"deduplicate": {"key": ["id", "user"]}, "source": {"ingest": {"partitionBy": ["user"]}}},
            "spec.source.ingest.partitionBy",
        ),
    ],
    ids=str,
)
def test_keys_and_partitioning_wait_for_a_drain(before: dict[str, Any], after: dict[str, Any], field: str) -> None:
    """Catches equal events on both sides of an edit that end up in different partitions."""
    assert field in _refused({"schema": _TWO, **before}, {"schema": _TWO, **after})
    assert _refused({"schema": _TWO, **before}, {"schema": _TWO, **after}, drained=True) == []


def test_topics_wait_for_a_drain_and_their_order_does_not_matter() -> None:
    """Catches an edit that leaves a topic's unread records behind."""

    def source(*topics: str) -> dict[str, Any]:
        return {"source": {"type": "Kafka", "kafka": {"bootstrapServers": ["k:1"], "topics": list(topics)}}}

    assert _refused(source("a", "b"), source("b", "a")) == []
    assert _refused(source("a"), source("b")) == ["spec.source.kafka.topics"]
    assert _refused(source("a"), {}) == ["spec.source.type"]


def test_removed_added_and_renamed_sinks_are_never_silent() -> None:
    """Catches a lane that ends without a word, and a rename that is taken for a removal."""
    old = examples.made(sinks=[{**examples.DUCKDB, "name": name} for name in ("a", "b")])
    new = examples.made(
        sinks=[
            {**examples.DUCKDB, "name": "c", "renamedFrom": "a"},
            {**examples.DUCKDB, "name": "d", "startFrom": {"type": "Now"}},
        ]
    )
    assert edits.check_edit(old, new, drained=True) == []
    assert [problem.field for problem in edits.check_edit(old, new, drained=False)] == ["spec.sinks[0].name"]
    renamed, added, gone = edits.notices(old, new)
    assert ("a is now c" in renamed, "d is new" in added, "now on" in added) == (True, True, True)
    assert ("b is gone" in gone, "renamedFrom" in gone) == (True, True)
    assert edits.notices(new, new) == []


def test_a_rename_from_nowhere_is_refused() -> None:
    """Catches a misspelt old name, which would start a lane at the beginning."""
    old = examples.made(sinks=[{**examples.DUCKDB, "name": "a"}])
    new = examples.made(sinks=[{**examples.DUCKDB, "name": "b", "renamedFrom": "aa"}])
    assert [problem.field for problem in edits.check_edit(old, new, drained=True)] == ["spec.sinks[0].renamedFrom"]
    kept = examples.made(sinks=[{**examples.DUCKDB, "name": "a", "renamedFrom": "long-ago"}])
    assert edits.check_edit(old, kept, drained=True) == []


_LEAVES = [one for one in schema.FieldType if one not in (schema.FieldType.LIST, schema.FieldType.STRUCT)]
_TYPES = st.recursive(
    st.builds(
        lambda kind, precision, scale: schema.Field(name="x", type=kind, precision=precision, scale=min(scale, precision)),
        st.sampled_from(_LEAVES),
        st.sampled_from([9, 18, 19]),
        st.sampled_from([0, 4]),
    ),
    lambda inner: (
        inner.map(lambda element: schema.Field(name="x", type=schema.FieldType.LIST, element=element))
        | inner.map(lambda member: schema.Field(name="x", type=schema.FieldType.STRUCT, fields=(member,)))
    ),
    max_leaves=2,
)


@settings(max_examples=400)
@given(_TYPES, _TYPES)
def test_what_an_edit_allows_a_reader_can_read(old: schema.Field, new: schema.Field) -> None:
    """Catches an allowed change that the reader of blocks refuses: the edit and the cast must agree."""
    if edits.is_readable(old, new):
        wanted = schema.arrow_type(new)
        assert widening.widened(pa.nulls(2, schema.arrow_type(old)), wanted, "x").type == wanted


def test_a_notice_says_which_state_begins_empty_and_which_is_forgotten() -> None:
    """Catches counts that start over without a word."""
    before, after = examples.made(**_state("a")), examples.made(**_state("b"))
    assert edits.notices(before, after) == ["state b begins empty now: earlier events don't count", "state a is forgotten"]
    assert edits.notices(after, after) == []
