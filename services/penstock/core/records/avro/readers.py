"""What a declared field takes of what a writer wrote, and how it becomes a column.

A writer's type and a declared one together make a reader; what does not fit is told once, when the two meet. Nothing is
coerced that could lose something: an int may become an Int64 or a Float64, a long no Int32.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.records.avro import cursor, nodes, values

_TIME = pa.timestamp("us", tz="UTC")
_DIGITS = 38
_DECIMAL_BYTES = 16
_DEEPEST = 64


Call: TypeAlias = Callable[[cursor.Cursor], pa.Array]


class Reader(Protocol):
    """Reads the next value of each record."""

    def read(self, at: cursor.Cursor) -> pa.Array:
        """As many values as there are records. Of records that it refuses, anything."""


class UnfitError(ValueError):
    """A writer's type that the declared field can't take: field, and what is written there."""

    def __init__(self, field: str, written: str, declared: str) -> None:
        super().__init__(f"{field}: is {written}")
        self.field, self.written, self.declared = field, written, declared


@dataclasses.dataclass(frozen=True, slots=True)
class Simple:
    """A value that one call reads."""

    call: Call

    def read(self, at: cursor.Cursor) -> pa.Array:
        return self.call(at)


@dataclasses.dataclass(frozen=True, slots=True)
class Union:
    """Each record says which branch it has; a branch that does not fit is a fault of that record alone."""

    branches: Sequence[Reader | UnfitError]
    kind: pa.DataType
    field: str

    def read(self, at: cursor.Cursor) -> pa.Array:
        chosen = at.longs(self.field)
        at.refuse((chosen < 0) | (chosen >= len(self.branches)), self.field, "a branch that its schema doesn't have")
        parts: list[pa.Array] = []
        order = np.full(len(at), -1, dtype=np.int64)
        filled = 0
        for number, branch in enumerate(self.branches):
            mine = np.flatnonzero(chosen == number)
            if not len(mine):
                continue
            if isinstance(branch, UnfitError):
                at.refuse(chosen == number, branch.field, f"{branch.written} where {branch.declared} is declared")
                continue
            if len(mine) == len(at):
                return branch.read(at)
            part = at.some(mine)
            parts.append(branch.read(part))
            at.join(mine, part)
            order[mine] = filled + np.arange(len(mine))
            filled += len(mine)
        if not parts:
            return pa.nulls(len(at), self.kind)
        places = pa.array(order, mask=order < 0)
        return pa.concat_arrays(parts).take(places)


@dataclasses.dataclass(frozen=True, slots=True)
class Array:
    """One item of each record at a time, as long as any has more."""

    item: Reader
    kind: pa.ListType | None
    """None passes over all of it."""
    field: str

    def read(self, at: cursor.Cursor) -> pa.Array:
        pieces: list[pa.Array] = []
        owners: list[cursor.Index] = []
        left = self._block(at)
        active = np.flatnonzero(left)
        while len(active):
            part = at.some(active)
            pieces.append(self.item.read(part))
            owners.append(active)
            left[active] -= 1
            spent = left[active] == 0
            if spent.any():
                ended = part.some(spent)
                left[active[spent]] = self._block(ended)
                part.join(spent, ended)
            at.join(active, part)
            active = active[(left[active] > 0) & (part.places < part.ends)]
        return self._column(len(at), pieces, owners)

    def _block(self, at: cursor.Cursor) -> cursor.Index:
        """How many items come now; a negative number says so with their bytes behind it."""
        counts = at.longs(self.field)
        sized = np.flatnonzero(counts < 0)
        if len(sized):
            part = at.some(sized)
            part.longs(self.field)
            at.join(sized, part)
        counts = np.abs(counts)
        beyond = counts > at.ends - at.places
        at.refuse(beyond, self.field, "more items than the record has bytes")
        return np.where(beyond | (at.places == at.ends), 0, counts)

    def _column(self, rows: int, pieces: list[pa.Array], owners: list[cursor.Index]) -> pa.Array:
        if self.kind is None:
            return pa.nulls(rows)
        owner = np.concatenate([np.zeros(0, np.int64), *owners])
        items = pa.concat_arrays([pa.array([], self.kind.value_type), *pieces])
        if len(pieces) > 1:
            items = items.take(pa.array(np.argsort(owner, kind="stable")))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=rows))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), items, type=self.kind)


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """All fields of the writer in their order; those that nothing is declared for are passed over."""

    fields: Sequence[tuple[str, Reader]]
    wanted: Sequence[tuple[str, pa.DataType, bool]]
    """Name, type, and whether it is required: in the order in which they are declared."""
    field: str

    def columns(self, at: cursor.Cursor) -> dict[str, pa.Array]:
        found: dict[str, pa.Array] = {}
        for name, reader in self.fields:
            column = reader.read(at)
            if name:
                found[name] = column
        return found

    def read(self, at: cursor.Cursor) -> pa.Array:
        found = self.columns(at)
        if not self.wanted:
            return pa.nulls(len(at))
        arrays = [found[name] if name in found else pa.nulls(len(at), kind) for name, kind, _ in self.wanted]
        return pa.StructArray.from_arrays(arrays, fields=[pa.field(name, kind) for name, kind, _ in self.wanted])


@dataclasses.dataclass(slots=True)
class Later:
    """A type that holds itself: bound when it is made. `deepest` is how many of itself it may hold."""

    reader: Reader | None = None
    depth: int = 0

    def read(self, at: cursor.Cursor) -> pa.Array:
        assert self.reader is not None  # noqa: S101 - bound before anything is read
        if not len(at) or self.depth >= _DEEPEST:
            at.refuse(np.ones(len(at), dtype=bool), "", f"nested deeper than {_DEEPEST}")
            return pa.nulls(len(at))
        self.depth += 1
        try:
            return self.reader.read(at)
        finally:
            self.depth -= 1


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Any type as JSON text: its extent in bulk, what is in it one record at a time."""

    over: Reader
    node: nodes.Node

    def read(self, at: cursor.Cursor) -> pa.Array:
        starts = at.places.copy()
        self.over.read(at)
        texts: list[str | None] = []
        for start, end in zip(starts.tolist(), at.places.tolist(), strict=True):
            try:
                found = values.value(self.node, at.data[start:end].tobytes())
                texts.append(None if found is None else msgspec.json.encode(found).decode())
            except values.BrokenError:
                texts.append(None)
        return pa.array(texts, pa.string())


def texts(field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        starts, ends = at.spans(field)
        return _utf8(at, cursor.octets(at.data, starts, ends), field)

    return read


def _utf8(at: cursor.Cursor, found: pa.BinaryArray, field: str) -> pa.Array:
    try:
        return found.cast(pa.string())
    except pa.ArrowInvalid:
        wrong = np.array([not _is_utf8(one) for one in found.to_pylist()], dtype=bool)
        at.refuse(wrong, field, "text that is not UTF-8")
        return pc.if_else(pa.array(wrong), pa.scalar(b""), found).cast(pa.string())


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def octets(size: int | None, field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        return cursor.octets(at.data, *(at.spans(field) if size is None else at.fixed(size, field)))

    return read


def truths(field: str) -> Call:
    return lambda at: pa.array(at.bytes(1, field)[:, 0] == 1)


def numbers(kind: pa.DataType, field: str) -> Call:
    return lambda at: _within(at, at.longs(field), kind, field)


def _within(at: cursor.Cursor, found: cursor.Index, kind: pa.DataType, field: str) -> pa.Array:
    if pa.types.is_int32(kind) or pa.types.is_date32(kind):
        outside = (found < -(2**31)) | (found >= 2**31)
        at.refuse(outside, field, "a number that takes more than 32 bits")
        return pa.array(np.where(outside, 0, found).astype(np.int32)).cast(kind)
    return pa.array(found.astype(np.float64) if pa.types.is_float64(kind) else found).cast(kind)


def floats(wide: bool, field: str) -> Call:
    width, form = (8, "<f8") if wide else (4, "<f4")
    return lambda at: pa.array(np.ascontiguousarray(at.bytes(width, field)).view(form)[:, 0].astype(np.float64))


def times(ticks: int, field: str) -> Call:
    return lambda at: pa.array(at.longs(field) * ticks).cast(_TIME)


def nanoseconds(field: str) -> Call:
    """As exact as a column holds: whole microseconds."""
    return lambda at: pa.array(at.longs(field) // 1_000).cast(_TIME)


def symbols(known: Sequence[str], field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        chosen = at.longs(field)
        wrong = (chosen < 0) | (chosen >= len(known))
        at.refuse(wrong, field, "a symbol that its schema doesn't have")
        return pa.array(list(known), pa.string()).take(pa.array(np.where(wrong, 0, chosen)))

    return read


def uuids(size: int | None, field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        found = cursor.octets(at.data, *(at.spans(field) if size is None else at.fixed(size, field)))
        known = [_uuid(one, fixed=size is not None) for one in found.to_pylist()]
        at.refuse(np.array([one is None for one in known], dtype=bool), field, "text that is no UUID")
        return pa.array(known, pa.string())

    return read


def _uuid(found: bytes, *, fixed: bool) -> str | None:
    try:
        return str(uuid.UUID(bytes=found) if fixed else uuid.UUID(found.decode()))
    except ValueError:
        return None


def decimals(node: nodes.Node, kind: pa.DataType, field: str) -> Call:
    """Unscaled values, big-endian two's complement."""

    def read(at: cursor.Cursor) -> pa.Array:
        starts, ends = at.spans(field) if node.kind == "bytes" else at.fixed(node.size, field)
        at.refuse(ends - starts > _DECIMAL_BYTES, field, f"a decimal of more than {_DECIMAL_BYTES} bytes")
        wide = np.zeros((len(at), _DECIMAL_BYTES), dtype=np.uint8)
        lengths = np.minimum(ends - starts, _DECIMAL_BYTES)
        negative = (lengths > 0) & (at.data[starts] >= 0x80)
        wide[negative] = 0xFF
        for place in range(int(lengths.max(initial=0))):
            held = lengths > place
            wide[held, place] = at.data[ends[held] - 1 - place]
        found = pa.Array.from_buffers(pa.decimal128(_DIGITS, node.scale), len(at), [None, pa.py_buffer(wide)])
        return _rescaled(at, found, kind, field)

    return read


def _rescaled(at: cursor.Cursor, found: pa.Array, kind: pa.DataType, field: str) -> pa.Array:
    try:
        return found.cast(kind)
    except pa.ArrowInvalid:
        kept = [_cast(found.slice(row, 1), kind) for row in range(len(found))]
        wrong = np.array([one is None for one in kept], dtype=bool)
        at.refuse(wrong, field, f"a decimal that {kind} can't hold")
        return pa.concat_arrays([pa.nulls(1, kind) if one is None else one for one in kept])


def _cast(one: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return one.cast(kind)
    except pa.ArrowInvalid:
        return None


def passed(size: int, field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        at.fixed(size, field)
        return pa.nulls(len(at))

    return read


def passed_number(field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        at.longs(field)
        return pa.nulls(len(at))

    return read


def passed_text(field: str) -> Call:
    def read(at: cursor.Cursor) -> pa.Array:
        at.spans(field)
        return pa.nulls(len(at))

    return read
