"""Documents into columns: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import datetime
import decimal

import pytest

from penstock.core import blocks, parse
from penstock.core import schema as schemas

_Types = schemas.FieldType
_Formats = schemas.TimestampFormat
_UUID = "6f1c2d3e-0000-4000-8000-00000000abcd"
_NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


def _parse(documents: list[bytes], *fields: schemas.Field, limit: int = 1_000_000, **rest: object) -> parse.Parsed:
    schema = schemas.Schema(fields=fields, **rest)  # type: ignore[arg-type]
    return parse.EventParser(schema, limit).parse(documents)


def _field(kind: schemas.FieldType, **rest: object) -> schemas.Field:
    return schemas.Field(name="a", type=kind, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "rest", "text", "value"),
    [
        (_Types.STRING, {}, '"\\u0000\\ud83d\\ude00"', "\0😀"),
        (_Types.INT64, {}, "-0", 0),
        (_Types.INT32, {}, "-2147483648", -2147483648),
        (_Types.FLOAT64, {}, "1", 1.0),
        (_Types.FLOAT64, {}, "1e-400", 0.0),
        (_Types.DECIMAL, {}, '"12.5"', decimal.Decimal("12.5000")),
        (_Types.DECIMAL, {}, "12.50000", decimal.Decimal("12.5000")),
        (_Types.DATE, {}, '"2024-02-29"', datetime.date(2024, 2, 29)),
        (_Types.TIMESTAMP, {}, '"2026-01-31T12:00:00Z"', _NOON),
        (_Types.TIMESTAMP, {}, '"2026-01-31t13:30:00.0+01:30"', _NOON),
        (_Types.TIMESTAMP, {}, '"2026-01-31T12:00:00.123456789Z"', _NOON.replace(microsecond=123_456)),
        (_Types.TIMESTAMP, {"format": _Formats.EPOCH_SECONDS}, "1769860800", _NOON),
        (_Types.TIMESTAMP, {"format": _Formats.EPOCH_MILLISECONDS}, "1769860800000", _NOON),
        (_Types.UUID, {}, f'"{_UUID.upper()}"', _UUID),
        (_Types.BYTES, {}, '"aGk="', b"hi"),
        (_Types.JSON, {}, '{"k" : [1, "é"]}', '{"k" : [1, "é"]}'),
        (_Types.INT64, {}, "null", None),
        (_Types.INT64, {"coerce": True}, '"12"', 12),
        (_Types.INT64, {"coerce": True}, "1.0", 1),
        (_Types.STRING, {"coerce": True}, "1.50", "1.50"),
        (_Types.STRING, {"coerce": True}, "true", "true"),
        (_Types.BOOLEAN, {"coerce": True}, '"False"', False),
        (_Types.FLOAT64, {"coerce": True}, '"1.5"', 1.5),
        (_Types.UUID, {"coerce": True}, f'"{{{_UUID}}}"', _UUID),
        (
            _Types.TIMESTAMP,
            {"format": _Formats.EPOCH_SECONDS, "coerce": True},
            "1769860800.5",
            _NOON.replace(microsecond=500_000),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_is_taken_as_its_declared_type(
    kind: schemas.FieldType, rest: dict[str, object], text: str, value: object
) -> None:
    """Catches a rounding, a shifted time, a re-rendered JSON text, and coercion that changes what a scalar says."""
    parsed = _parse([f'{{"a":{text}}}'.encode()], _field(kind, **rest))
    assert parsed.rejected == ()
    assert parsed.batch.column("a").to_pylist() == [value]


@pytest.mark.parametrize(
    ("kind", "rest", "text", "reason"),
    [
        (_Types.STRING, {}, "1", "the number 1 is not a string"),
        (_Types.INT64, {}, "1.0", "the number 1.0 is not a whole number of 64 bits"),
        (_Types.INT64, {}, '"1"', 'the string "1" is not a whole number'),
        (_Types.INT64, {}, "9223372036854775808", "is not a whole number of 64 bits"),
        (_Types.INT32, {}, "2147483648", "is not a whole number of 32 bits"),
        (_Types.INT64, {}, "9" * 5_000, "is not a whole number of 64 bits"),
        (_Types.FLOAT64, {}, "1e400", "is not a number a double can hold"),
        (_Types.DECIMAL, {"precision": 9, "scale": 3}, "1000000", "a decimal of at most 9 digits"),
        (_Types.DECIMAL, {}, "1.00001", "4 of them after the point"),
        (_Types.TIMESTAMP, {}, '"2026-01-31T12:00:00"', "RFC 3339 time with its offset"),
        (_Types.TIMESTAMP, {}, '"2026-02-30T12:00:00Z"', "RFC 3339 time"),
        (_Types.TIMESTAMP, {}, '"2026-01-31T12:00Z"', "RFC 3339 time"),
        (_Types.TIMESTAMP, {}, '"2026-01-31T12:00:00+0100"', "RFC 3339 time"),
        (_Types.TIMESTAMP, {}, '"0000-01-01T00:00:00Z"', "RFC 3339 time"),
        (_Types.TIMESTAMP, {"format": _Formats.EPOCH_SECONDS}, "1769860800000", "seconds since 1970"),
        (_Types.DATE, {}, '"2026-02-30"', "a date such as"),
        (_Types.UUID, {}, '"x"', 'the string "x" is not a UUID'),
        (_Types.BYTES, {}, '"aGk"', "base64"),
        (_Types.BOOLEAN, {}, "1", "not true or false"),
        (_Types.INT64, {"required": True}, "null", "required, but missing or null"),
        (_Types.INT64, {"coerce": True}, "1.5", "the number 1.5 is not a whole number"),
        (_Types.INT64, {"coerce": True}, "true", "true is not a whole number"),
        (_Types.STRING, {"coerce": True}, "[]", "an array is not a string"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_named_with_its_field_and_a_remedy(
    kind: schemas.FieldType, rest: dict[str, object], text: str, reason: str
) -> None:
    """Catches a coercion nobody asked for, an overflow that wraps, and an error that does not say what to do."""
    (why,) = _parse([f'{{"a":{text}}}'.encode()], _field(kind, **rest)).rejected
    assert (why.code, why.field) == (parse.Code.SCHEMA_MISMATCH, "a")
    assert reason in why.reason
    assert why.remedy


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "the event is empty"),
        (b" \n", "the event is empty"),
        (b"[1]", "this is an array"),
        (b"null", "this is null"),
        (b'{"a":1}{"a":2}', "more text after the JSON value"),
        (b'{"a":1', "Expecting"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"b":-Infinity}', "-Infinity is not JSON"),
        (b'{"b":"\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
        (b'{"b":"\\ud800"}', "surrogate"),
        (b'{"b":"\\\\\\udc00"}', "surrogate"),
        (b'{"b":"x\0y"}', "control character"),
        (b'{"a":1}\0}', "more text after"),
        (b'{"a":1,}', "at character"),
    ],
    ids=repr,
)
def test_what_is_not_one_json_object_is_malformed(document: bytes, reason: str) -> None:
    """Catches what the bulk reader lets through: NaN, bytes for text, two events for one, an ended stream."""
    parsed = _parse([b'{"a":1}', document, b'{"a":3}'], _field(_Types.INT64))
    assert [(why.index, why.code) for why in parsed.rejected] == [(1, parse.Code.MALFORMED)]
    assert reason in parsed.rejected[0].reason
    assert parsed.batch.column("a").to_pylist() == [1, 3]


def test_documents_that_only_together_are_json_are_all_refused() -> None:
    """Catches a row count that is right by chance: two halves and a double make three."""
    documents = [b'{"a":1', b',"b":2}', b'{"a":3}{"a":4}', b'{"a":5}']
    parsed = _parse(documents, _field(_Types.INT64))
    assert [why.index for why in parsed.rejected] == [0, 1, 2]
    assert parsed.batch.column("a").to_pylist() == [5]


def test_every_bad_event_among_many_is_found_and_no_other() -> None:
    """Catches a part that is dropped or read twice while the faulty ones are searched, and rows that lose their bytes."""
    bad = {0, 24, 25, 777, 1_250, 4_998, 4_999}
    documents = [b'{"a":"x"}' if row in bad else b'{"a":%d}' % row for row in range(5_000)]
    parsed = _parse(documents, _field(_Types.INT64))
    assert {why.index for why in parsed.rejected} == bad
    assert parsed.batch.column("a").to_pylist() == parsed.accepted.tolist() == [row for row in range(5_000) if row not in bad]
    assert parsed.batch.column(blocks.ORIGINAL).to_pylist() == [documents[row] for row in parsed.accepted]
    assert parsed.exact_events < 500


def test_an_event_over_the_limit_is_refused_by_its_size() -> None:
    """Catches a limit that is off by one, or that counts characters."""
    parsed = _parse([b'{"a":"xx"}', '{"a":"é"}'.encode(), b'{"a":"xxx"}'], _field(_Types.STRING), limit=10)
    assert [(why.index, why.code) for why in parsed.rejected] == [(2, parse.Code.TOO_LARGE)]
    assert parsed.accepted.tolist() == [0, 1]


@pytest.mark.parametrize(("unknown", "refused"), [("KEEP", []), ("DROP", []), ("REJECT", ["b", "s.y", "l[1].z"])])
def test_unknown_fields_are_refused_at_every_depth_or_not_at_all(unknown: str, refused: list[str]) -> None:
    """Catches a check of the top level only, with and without JSON fields, which take another way."""
    inner = (schemas.Field(name="x", type=_Types.INT64),)
    fields = (
        _field(_Types.INT64),
        schemas.Field(name="s", type=_Types.STRUCT, fields=inner),
        schemas.Field(name="l", type=_Types.LIST, element=schemas.Field(name="item", type=_Types.STRUCT, fields=inner)),
    )
    documents = [b'{"a":1,"b":2}', b'{"s":{"y":1}}', b'{"l":[{"x":1},{"z":2}]}', b'{"a":1,"s":{"x":1},"l":[null,{"x":1}]}']
    for extra in ((), (schemas.Field(name="j", type=_Types.JSON),)):
        parsed = _parse(documents, *fields, *extra, unknown_fields=schemas.UnknownFields[unknown])
        assert [why.field for why in parsed.rejected] == refused


def test_a_member_given_twice_is_refused_unless_it_is_json() -> None:
    """Catches a silent choice between two values."""
    parsed = _parse(
        [b'{"a":1,"a":2}', b'{"a":1,"j":1,"j":[2]}', b'{"a":1,"zz":1,"zz":2}'],
        _field(_Types.INT64),
        schemas.Field(name="j", type=_Types.JSON),
    )
    assert [(why.index, why.field) for why in parsed.rejected] == [(0, "a")]
    assert parsed.batch.column("j").to_pylist() == ["[2]", None]


def test_a_path_reads_a_deeper_member() -> None:
    """Catches a path through a missing or null object that refuses the event, and one through a number that does not."""
    fields = (
        schemas.Field(name="device", type=_Types.STRING, path="$.meta.device-id"),
        schemas.Field(name="raw", type=_Types.JSON, path="$.meta.raw"),
    )
    parsed = _parse([b'{"meta":{"device-id":"d","raw":{"k": 1}}}', b'{"meta":null}', b"{}", b'{"meta":1}'], *fields)
    assert parsed.batch.column("device").to_pylist() == ["d", None, None]
    assert parsed.batch.column("raw").to_pylist() == ['{"k": 1}', None, None]
    assert [(why.index, why.field) for why in parsed.rejected] == [(3, "meta")]


@pytest.mark.parametrize("path", ["$.a", "$.a.x", "a.b", "$", "$.x[0]", "$.x..y"])
def test_paths_that_contradict_each_other_or_say_nothing_are_refused_at_once(path: str) -> None:
    """Catches one member that is silently read by one of two fields."""
    with pytest.raises(ValueError, match="field 'b'"):
        _parse([], _field(_Types.INT64), schemas.Field(name="b", type=_Types.INT64, path=path))


def test_required_holds_inside_structs_and_lists_where_these_are_present() -> None:
    """Catches a NULL struct taken for one that lacks its members."""
    inner = schemas.Field(name="x", type=_Types.INT64, required=True)
    struct = schemas.Field(name="s", type=_Types.STRUCT, fields=(inner,))
    items = schemas.Field(name="l", type=_Types.LIST, element=schemas.Field(name="item", type=_Types.INT64, required=True))
    documents = [b'{"s":{"x":1},"l":[1]}', b'{"s":null,"l":null}', b'{"s":{}}', b'{"l":[1,null]}']
    parsed = _parse(documents, struct, items)
    assert [(why.index, why.field) for why in parsed.rejected] == [(2, "s.x"), (3, "l[1]")]


def test_depth_alone_refuses_nothing_that_is_not_read() -> None:
    """Catches a recursion limit that ends the process or makes a good event's fate hang on its neighbour."""
    deep = b'{"a":1,"b":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    parsed = _parse([deep, b'{"a":"x"}', deep[:-1]], _field(_Types.INT64))
    assert parsed.accepted.tolist() == [0]
    assert [why.index for why in parsed.rejected] == [1, 2]


def test_a_pipeline_without_a_schema_takes_the_whole_event() -> None:
    """Catches an event that is re-rendered, and a document that is not checked because no column wants it."""
    fields = (schemas.Field(name="event", type=_Types.JSON), schemas.Field(name="received_at", type=_Types.TIMESTAMP))
    parsed = _parse([b'{"x" : 1.0}', b'{"x":', b"[1]", b'{"x":1,"x":2}'], *fields, whole_event=True)
    assert parsed.batch.column("event").to_pylist() == ['{"x" : 1.0}', '{"x":1,"x":2}']
    assert parsed.batch.column("received_at").null_count == 2
    assert [why.index for why in parsed.rejected] == [1, 2]


@pytest.mark.parametrize("documents", [[], [b"nope"]], ids=["none", "all refused"])
def test_no_accepted_event_still_makes_a_typed_batch(documents: list[bytes]) -> None:
    """Catches a crash, or a batch without columns, when nothing is left."""
    parsed = _parse(documents, _field(_Types.UUID))
    assert (parsed.batch.num_rows, parsed.batch.schema.names) == (0, ["a", blocks.ORIGINAL])
