"""Setting suspects apart before the rest is read in bulk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import parse
from penstock.core import schema as schemas
from penstock.core.parsing import sieve

_Types = schemas.FieldType


def _field(name: str, kind: schemas.FieldType, **rest: Any) -> schemas.Field:
    return schemas.Field(name=name, type=kind, **rest)


_FIELDS = (
    _field("id", _Types.STRING, required=True),
    _field("n", _Types.INT32),
    _field("c", _Types.INT32, coerce=True),
    _field("ts", _Types.TIMESTAMP),
    _field("u", _Types.UUID),
    _field("m", _Types.DECIMAL),
    _field("j", _Types.JSON),
    _field("deep", _Types.INT64, path="$.meta.deep", required=True),
    _field("li", _Types.LIST, element=_field("item", _Types.STRUCT, fields=(_field("q", _Types.INT32, required=True),))),
)
_GOOD = (
    b'{"id":"a","n":1,"ts":"2026-01-01T00:00:00Z","u":"6F1C2D3E-0000-4000-8000-00000000ABCD","m":1.5,"j":[1],'
    b'"meta":{"deep":1},"li":[{"q":1},null],"zz":1}'
)
_SUSPECT_BUT_RIGHT = _GOOD.replace(b'"zz":1', b'"c":"7"')
_BAD = [
    _GOOD[:-1],
    b"[]",
    b"",
    b"\xff",
    b'{"id":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    _GOOD.replace(b'"id":"a"', b'"id":null'),
    _GOOD.replace(b'"n":1', b'"n":"1"'),
    _GOOD.replace(b'"n":1', b'"n":2147483648'),
    _GOOD.replace(b"2026-01", b"2026-13"),
    _GOOD.replace(b"00Z", b"00"),
    _GOOD.replace(b"ABCD", b"WXYZ"),
    _GOOD.replace(b'"meta":{"deep":1},', b""),
    _GOOD.replace(b'"q":1', b'"r":1'),
]


def test_the_usual_faults_are_seen_and_faultless_events_are_not_suspected() -> None:
    """Catches a sieve that lets everything through, or nothing."""
    documents = [item for bad in _BAD for item in (_GOOD, bad)]
    assert sieve.Sieve(schemas.Schema(fields=_FIELDS)).suspects(documents).tolist() == [False, True] * len(_BAD)


def test_unknown_fields_are_suspect_only_where_they_are_refused() -> None:
    """Catches every event of a tolerant schema read one by one, and none of a strict one."""
    strict = schemas.Schema(fields=_FIELDS, unknown_fields=schemas.UnknownFields.REJECT)
    known = _GOOD.replace(b',"zz":1', b"")
    assert sieve.Sieve(strict).suspects([_GOOD, known]).tolist() == [True, False]


@pytest.mark.parametrize("share", [1, 10, 50])
def test_only_bad_events_cost_the_exact_path(share: int) -> None:
    """Catches a return to cutting blocks in parts, where one bad event in a hundred has a fifth of all read one by one."""
    documents = [_BAD[index % len(_BAD)] if index % 100 < share else _GOOD for index in range(3_000)]
    parsed = parse.EventParser(schemas.Schema(fields=_FIELDS), 1 << 20).parse(documents)
    assert (len(parsed.rejected), parsed.exact_events) == (30 * share, 30 * share)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([_GOOD, _SUSPECT_BUT_RIGHT, _GOOD.replace(b'"zz"', b'"id"'), b'{"id":"z","meta":{"deep":2}}', *_BAD]),
        min_size=20,
        max_size=90,
    )
)
def test_order_and_neighbours_do_not_depend_on_how_events_were_read(documents: list[bytes]) -> None:
    """Catches rows out of order after suspects were read first, and a refusal under another event's index."""
    parser = parse.EventParser(schemas.Schema(fields=_FIELDS), 1 << 20)
    together = parser.parse(documents)
    alone = [parser.parse([document]) for document in documents]
    assert together.accepted.tolist() == [index for index, one in enumerate(alone) if len(one.accepted)]
    assert [why.index for why in together.rejected] == [index for index, one in enumerate(alone) if one.rejected]
    assert [why.reason for why in together.rejected] == [one.rejected[0].reason for one in alone if one.rejected]
    rows = [row for one in alone for row in one.batch.to_pylist()]
    assert json.dumps(together.batch.to_pylist(), default=str) == json.dumps(rows, default=str)
