"""What is fuzzed: for each target a way to make inputs and what must hold for every one of them.

`tests/fuzz/test_targets.py` runs them briefly, `make fuzz` long.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import re
import zlib
from collections.abc import Callable
from typing import Any

import hypothesis
import msgspec
import pyarrow as pa
from hypothesis import strategies as st
from tests.fuzz import sql
from tests.hostile import files, records

from penstock.api import load
from penstock.core import blocks, columns, deadletters, dialects, errors, frames, parse, schema
from penstock.core.parsing import exact, rejection
from penstock.core.transform import compile as compiler
from penstock.core.transform import spec, transform
from penstock.ingest import cloudevents, unpacking

_Body = Callable[..., None]
TARGETS: dict[str, tuple[_Body, tuple[st.SearchStrategy[Any], ...]]] = {}
"""Each target by its name: what must hold, and for what."""


def _fuzzed(*inputs: st.SearchStrategy[Any]) -> Callable[[_Body], _Body]:
    def note(body: _Body) -> _Body:
        TARGETS[body.__name__] = body, inputs
        return body

    return note


class Tried:
    """How many inputs a target was given."""

    def __init__(self) -> None:
        self.inputs = 0


def run(
    name: str,
    settings: hypothesis.settings,
    *,
    tried: Tried | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Run one target. Raises whatever fails. Once `until` says so, further inputs pass unseen unless one has failed."""
    body, inputs = TARGETS[name]
    counts, failed = tried or Tried(), False

    @functools.wraps(body)
    def counted(*given: Any, **named: Any) -> None:
        nonlocal failed
        if until() and not failed:
            return
        counts.inputs += 1
        try:
            body(*given, **named)
        except Exception:
            failed = True
            raise

    wrapped = settings(hypothesis.given(*inputs)(counted))
    # Else what was found is filed under the source of the target, and is forgotten when that is edited.
    wrapped._hypothesis_internal_database_key = name.encode()  # type: ignore[attr-defined]
    wrapped()


_Types = schema.FieldType
_FIELDS = (
    schema.Field(name="s", type=_Types.STRING),
    schema.Field(name="n", type=_Types.INT64),
    schema.Field(name="d", type=_Types.FLOAT64),
    schema.Field(name="ts", type=_Types.TIMESTAMP),
    schema.Field(name="j", type=_Types.JSON),
    schema.Field(name="l", type=_Types.LIST, element=schema.Field(name="item", type=_Types.INT64)),
)
SCHEMA = schema.Schema(fields=_FIELDS)
_TYPED = schema.Schema(fields=tuple(field for field in _FIELDS if field.type is not _Types.JSON))
_MOST_BYTES = 4 << 20

_TOKENS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"\n",
        b"\r\n",
        b" ",
        b"\\",
        b"\\u",
        b"d800",
        b"1",
        b"-",
        b".",
        b"e",
        b"E9",
        b"0",
        b"NaN",
        b"Infinity",
        b"null",
        b"true",
        b'"s"',
        b'"n"',
        b'"d"',
        b'"j"',
        b'"l"',
        b'"ts"',
        b"\xff",
        b"\x00",
        b"\xef\xbb\xbf",
        b'{"n":1}',
        b'{"s":"x","l":[1]}',
        b'"2026-01-01T00:00:00Z"',
        b"\xed\xa0\x80",
        b'{"specversion":"1.0","id":"a"}',
    ]
)
_TEXTS = st.lists(st.one_of(_TOKENS, st.binary(max_size=4)), max_size=24).map(b"".join)
_MEMBERS = st.lists(st.tuples(st.sampled_from("sndjlz"), _TOKENS | st.just(b"[1,2]")), max_size=5)
_EVENTS = _MEMBERS.map(lambda pairs: b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in pairs) + b"}") | _TEXTS


@_fuzzed(st.lists(_EVENTS, min_size=1, max_size=4), st.sampled_from([SCHEMA, _TYPED]))
def parsers_agree(documents: list[bytes], declared: schema.Schema) -> None:
    """The reader in bulk and the exact one give the same verdict and the same values for every event."""
    exactly = exact.ExactReader(declared)
    rows: list[Any] = []
    for document in documents:
        try:
            rows.append(exactly.read(document))
        except rejection.RefusedError:
            rows.append(None)
    parsed = parse.EventParser(declared, 1 << 20).parse(documents)
    wanted = exact.batch([row for row in rows if row is not None], schema.arrow_schema(declared))
    assert parsed.accepted.tolist() == [place for place, row in enumerate(rows) if row is not None]
    assert [why.index for why in parsed.rejected] == [place for place, row in enumerate(rows) if row is None]
    assert parsed.batch.select(wanted.schema.names).equals(wanted)


@_fuzzed(_TEXTS, st.sampled_from([frames.ndjson, frames.json_array, frames.single, cloudevents.structured, cloudevents.batch]))
def bodies_are_framed(body: bytes, framer: Callable[[bytes], frames.Frames]) -> None:
    """A body is cut into documents and refusals whose places are in order, or refused as a whole."""
    try:
        framed = framer(body)
    except frames.UnreadableBodyError:
        return
    assert len(framed.indices) == len(framed.documents)
    assert list(framed.indices) == sorted(set(framed.indices))
    assert not {why.index for why in framed.broken} & set(framed.indices.tolist())
    parse.EventParser(SCHEMA, 1 << 20).parse(framed.documents)


@_fuzzed(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    st.sampled_from(["", "application/json", "text/plain", "a/b"]),
    _TEXTS,
)
def cloud_events_are_put_together(attributes: list[tuple[str, str]], kind: str, body: bytes) -> None:
    """An event in binary form makes one JSON object, or one refusal; a body never adds members."""
    told = [("ce-specversion", "1.0"), ("ce-id", "a"), ("ce-source", "/s"), ("ce-type", "t")]
    framed = cloudevents.binary(cloudevents.pack([*told, *((f"ce-{name}", value) for name, value in attributes)], kind, body))
    assert len(framed.documents) + len(framed.broken) == 1
    if len(framed.documents):
        assert msgspec.json.decode(framed.documents[0].as_py())["id"] == "a"


@_fuzzed(st.sampled_from(["gzip", "deflate", "zstd"]), st.binary(max_size=300), st.integers(0, 5_000), st.integers(0, 3))
def bodies_are_unpacked(encoding: str, body: bytes, flip: int, mode: int) -> None:
    """Packed bytes, also damaged ones, unpack in bounded pieces or are refused as broken."""
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
    }
    packed = (
        body,
        pack[encoding](body * 20),
        records.flipped(pack[encoding](body * 20), flip),
        pack[encoding](body)[: flip % 40],
    )[mode]
    made = 0
    try:
        for piece in unpacking.pieces(encoding, packed):
            assert len(piece) <= unpacking.PIECE_BYTES
            made += len(piece)
            if made > _MOST_BYTES:
                return
    except unpacking.BrokenBodyError:
        assert mode != 1


_SMALL, _LARGE = records.good(10), records.good(5_000)


@_fuzzed(st.booleans(), st.lists(st.integers(0, 1 << 20), max_size=4), st.integers(0, 1 << 16), st.booleans())
def blocks_are_read(large: bool, flips: list[int], cut: int, sealed: bool) -> None:
    """A damaged block is refused as such; a good one is read."""
    value, headers = _LARGE if large else _SMALL
    changed = value
    for flip in flips:
        changed = records.flipped(changed, flip if flip % 2 else flip % 8_000)
    changed = changed[:-cut] if 0 < cut < len(value) else changed
    try:
        batch = blocks.decode(*(records.resealed(changed, headers) if sealed else (changed, headers)), columns=["n"])
    except blocks.BlockError:
        assert changed != value
    else:
        assert sealed or changed == value
        assert batch.num_rows in (10, 5_000)


@_fuzzed(st.dictionaries(st.sampled_from(sorted(_SMALL[1])), st.binary(max_size=12) | st.integers().map(lambda n: b"%d" % n)))
def block_headers_are_read(changed: dict[str, bytes]) -> None:
    """Any header at all is a format that is not known, a corrupt block, or right."""
    with contextlib.suppress(blocks.BlockError):
        blocks.decode(_SMALL[0], {**_SMALL[1], **changed})


_ARROW = pa.table({"s": ["a", "b"], "n": [1, 2], "l": [[1], None]})


def _arrow_stream(compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _ARROW.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(_ARROW)
    return bytes(sink.getvalue().to_pybytes())


_STREAMS = [_arrow_stream(None), _arrow_stream("zstd"), _arrow_stream("lz4")]


@_fuzzed(st.sampled_from(_STREAMS), st.lists(st.integers(0, 1 << 16), max_size=4), st.integers(0, 1 << 12))
def columns_are_read(stream: bytes, flips: list[int], cut: int) -> None:
    """A damaged Arrow stream is refused or gives columns that are whole."""
    for flip in flips:
        stream = records.flipped(stream, flip)
    stream = stream[:-cut] if 0 < cut < len(stream) else stream
    try:
        parsed = columns.ColumnReader(SCHEMA).read(stream)
    except frames.UnreadableBodyError:
        return
    parsed.batch.validate(full=True)


_LINES = files.GOOD.splitlines(keepends=True)
_BITS = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        "&a ",
        "*a",
        "<<: ",
        "!!x ",
        "'",
        '"',
        "|\n",
        ">",
        "? ",
        "%",
        "---\n",
        "#",
        "~",
        "1e3",
        "yes",
        "0x1",
        "null",
        "sinks:\n",
        "name: ",
        "spec:\n",
        "transform: ",
        "\\ud800",
        "\x00",
        "\ufeff",
        "\u2028",
        "=",
        "@",
        "`",
    ]
)
_YAML = st.lists(st.sampled_from(_LINES) | _BITS | st.text(max_size=3), max_size=24).map("".join) | st.tuples(
    st.integers(0, len(files.GOOD)), st.integers(0, 6), _BITS | st.text(max_size=3)
).map(lambda told: files.GOOD[: told[0]] + told[2] + files.GOOD[told[0] + told[1] :])


@_fuzzed(_YAML)
def files_are_read(text: str) -> None:
    """Any text is a pipeline or a list of problems, each of which can be shown."""
    try:
        load.read(text, file="p.yaml")
    except errors.InvalidPipelineError as error:
        found = error.problems
    else:
        return
    assert found
    assert all(one.message for one in found)


_EMPTY = {"s": [None, "x", "é" * 50], "n": [None, 3, -(1 << 63)], "d": [None, 0.5, float("inf")], "l": [None, [1, None], []]}


def _checked(text: str) -> None:
    wanted = spec.Expression(name="x", sql=text, path="p")
    told = spec.TransformSpec(schema=SCHEMA, select=(spec.Output(name="x", value=wanted), spec.Output(name="n")))
    if compiler.check(told):
        return
    known = transform.Transform(told, memory_limit_bytes=64 << 20, time_limit_seconds=0.5)
    arrow = schema.arrow_schema(SCHEMA)
    table = pa.table(
        {
            name: pa.array(_EMPTY.get(name, [None] * 3), arrow.field(name).type)
            for name in known.input_columns
            if name in arrow.names
        }
    )
    if set(known.input_columns) <= set(arrow.names):
        done = known.run(table.append_column(spec.EVENT_COLUMN, pa.array([0, 1, 2], pa.int32())))
        assert done.rows.num_rows + len(done.failures) == 3
        assert done.rows.nbytes < 64 << 20
    known.close()


@_fuzzed(sql.EXPRESSIONS)
def expressions_are_checked(text: str) -> None:
    """SQL of allowed functions is refused, or runs within its limits and accounts for every row."""
    _checked(text)


@_fuzzed(sql.NOISE)
def noise_is_no_expression(text: str) -> None:
    """Any text at all is refused or compiled, never an exception."""
    _checked(text)


@_fuzzed(
    st.text(st.sampled_from("ab_{}.-'\";/\x00é "), max_size=12),
    st.lists(st.text(st.sampled_from("eus'\x00/;"), max_size=4), max_size=4),
)
def templates_name_known_tables_only(template: str, values: list[str]) -> None:
    """Whatever an event holds, the table is one of those that the template can name."""
    table = spec.TableTemplate(template=template, allowed=("eu", "u's"), otherwise="rest", path="p")
    told = spec.TransformSpec(schema=schema.Schema(fields=(_FIELDS[0],)), select=(spec.Output(name="s"),), table=table)
    if [name for name in re.findall(r"\{([^{}]*)\}", template) if name != "s"] or compiler.check(told):
        return
    known = transform.Transform(told)
    rows = pa.table({"s": pa.array(values, pa.string())}).select(list(known.input_columns))
    done = known.run(rows.append_column(spec.EVENT_COLUMN, pa.array(range(len(values)), pa.int32())) if rows.num_columns else
                     pa.table({spec.EVENT_COLUMN: pa.array(range(len(values)), pa.int32())}))  # fmt: skip
    assert set(done.rows.column(spec.TABLE_COLUMN).to_pylist()) <= set(table.tables())
    known.close()


_NAMES = st.sampled_from(["penstock.dead-letter.version", "penstock.dead-letter.items", "penstock.dead-letter.id"]) | st.text(
    max_size=9
)


@_fuzzed(st.binary(max_size=30), st.dictionaries(_NAMES, st.binary(max_size=12), max_size=6))
def dead_letters_are_decoded(value: bytes, headers: dict[str, bytes]) -> None:
    """Any record is a dead letter or is told not to be one."""
    with contextlib.suppress(deadletters.DeadLetterError):
        dialects.decode(value, headers)
