"""The bulk reader and the exact one: whatever the bulk reader accepts, the exact one accepts with the same values."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import parse
from penstock.core import schema as schemas
from penstock.core.parsing import bulk, convert, exact, rejection

_Types = schemas.FieldType


def _field(name: str, kind: schemas.FieldType, **rest: object) -> schemas.Field:
    return schemas.Field(name=name, type=kind, **rest)  # type: ignore[arg-type]


_DECIMAL = _field("m", _Types.DECIMAL, precision=9, scale=3)
_TYPED = (
    _field("s", _Types.STRING),
    _field("b", _Types.BOOLEAN),
    _field("i", _Types.INT32),
    _field("l", _Types.INT64, required=True),
    _field("d", _Types.FLOAT64),
    _DECIMAL,
    _field("day", _Types.DATE),
    _field("ts", _Types.TIMESTAMP),
    _field("ms", _Types.TIMESTAMP, format=schemas.TimestampFormat.EPOCH_MILLISECONDS),
    _field("u", _Types.UUID),
    _field("y", _Types.BYTES),
    _field("deep", _Types.STRING, path="$.meta.device-id"),
    _field("lr", _Types.LIST, element=_field("item", _Types.INT64, required=True)),
)
_WITH_JSON = (
    *_TYPED,
    _field("j", _Types.JSON),
    _field("dj", _Types.JSON, path="$.meta.raw"),
    _field("lj", _Types.LIST, element=_field("item", _Types.JSON)),
    _field("st", _Types.STRUCT, fields=(_field("a", _Types.INT32, required=True), _field("j", _Types.JSON))),
    _field(
        "li",
        _Types.LIST,
        element=_field(
            "item",
            _Types.STRUCT,
            fields=(_field("u", _Types.UUID), _field("j", _Types.JSON), _field("n", _Types.LIST, element=_DECIMAL)),
        ),
    ),
)
_FITTING = {
    "s": '"x"', "b": "true", "i": "1", "l": "2", "d": "1.5", "m": "1.5", "day": '"2026-01-01"', "ts": '"2026-01-01T00:00:00Z"',
    "ms": "1700000000000", "u": '"6F1C2D3E-0000-4000-8000-00000000ABCD"', "y": '"aGk="', "lr": "[1,2]",
    "meta": '{"device-id":"d","raw":{"k":1}}', "j": '{"k": [1]}', "lj": '[1,null,{"a":2}]', "st": '{"a":1,"j":[1, 2]}',
    "li": '[{"u":"6f1c2d3e-0000-4000-8000-00000000ABCD","j":null,"n":[1.5,"2"]},null]', "zz": "1",
}  # fmt: skip
_TELLING = [
    "9" * 309, "-1" + "0" * 309,
    "1", "-0", "1.0", "1e2", "1e400", "-1e-400", "2147483648", "9223372036854775808", "1.2345", "1.2340000", "0e99999", "0e-99",
    "999999", "1000000", "999999.9995", "NaN", "-Inf", "Infinity", "true", "null", '"x"', '"\\u0000"', '"\\ud83d\\ude00"',
    '"\\ud800"', '"\\udc00x"', '": NaN,"', '"2026-02-30"', '"0000-01-01"', '"2026-01-01t00:00:00z"', '"2026-01-01T00:00Z"',
    '"2026-01-01 00:00:00.123456789+05:30"', '"2026-01-01T00:00:00+0100"', '"2026-01-01T00:00:00-24:00"',
    '"0001-01-01T00:00:00+01:00"', '"0000-12-31T23:00:00-02:00"', '"9999-12-31T23:59:59-01:00"', '"2026-01-01T23:59:60Z"',
    '"+1.5"', '".5"', '"1."', '" 1"', '"1e1"', '"6f1c2d3e000040008000 00000000abcd"', '"aGk"', '""', "[]", "{}", "[1,null]",
    "[{}]", '{"a":1,"a":2}', '{"a":null}', '{"device-id":1}', '{"raw":null}', '{"x":1}', "253402300800000", '"é"', "tru",
    '1}{"l":1',
]  # fmt: skip
_MEMBERS = st.one_of(
    st.sampled_from(sorted(_FITTING)).map(lambda name: f'"{name}":{_FITTING[name]}'),
    st.sampled_from(sorted(_FITTING)).map(lambda name: f'"{name}" :\n{_FITTING[name]}'),
    st.tuples(st.sampled_from(sorted(_FITTING)), st.sampled_from(_TELLING)).map(lambda pair: f'"{pair[0]}":{pair[1]}'),
)
_FRAYED = st.sampled_from(
    [
        *[(b"", b"")] * 4,
        (b"", b" "),
        (b"\n", b""),
        (b"", b"}"),
        (b"\xef\xbb\xbf", b""),
        (b"", b"{}"),
        (b"", b"\0}"),
        (b"\x0b", b""),
        (b"[", b"]"),
    ]
)


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    members = draw(st.lists(_MEMBERS, max_size=6, unique_by=lambda text: text.split('"')[1]))
    before, after = draw(_FRAYED)
    required = [] if any(member.startswith('"l"') for member in members) else ['"l":2']
    return before + ("{" + ",".join([*members, *required]) + "}").encode() + after


@pytest.mark.parametrize("unknown", [schemas.UnknownFields.KEEP, schemas.UnknownFields.REJECT])
@pytest.mark.parametrize("fields", [_TYPED, _WITH_JSON], ids=["typed", "with JSON"])
def test_both_readers_accept_the_same_and_make_the_same(
    fields: tuple[schemas.Field, ...], unknown: schemas.UnknownFields
) -> None:
    """Catches each check of the bulk reader that is left out: UUIDs and decimal precision were, and this found them."""
    schema = schemas.Schema(fields=fields, unknown_fields=unknown)
    parser, columns = parse.EventParser(schema, 1_000_000), schemas.arrow_schema(schema)
    in_bulk, exactly = bulk.BulkReader(schema), exact.ExactReader(schema)

    @settings(max_examples=150)
    @given(st.lists(_documents(), min_size=1, max_size=3))
    def agree(documents: list[bytes]) -> None:
        rows = [_exact_or_none(exactly, document) for document in documents]
        wanted = exact.batch([row for row in rows if row is not None], columns)
        try:
            batch = in_bulk.read(pa.array(documents, pa.binary()))
        except convert.NotPlainError:
            batch = None
        assert batch is None or (None not in rows and batch.equals(wanted))
        parsed = parser.parse(documents)
        assert parsed.accepted.tolist() == [index for index, row in enumerate(rows) if row is not None]
        assert parsed.batch.select(columns.names).equals(wanted)

    agree()


def _exact_or_none(reader: exact.ExactReader, document: bytes) -> exact.Values | None:
    try:
        return reader.read(document)
    except rejection.RefusedError:
        return None
