"""Values that are JSON documents, read into columns by the same parser that reads what is sent to a door."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import blocks, parse
from penstock.core import schema as schemas
from penstock.core.parsing import layout

_NO_BOUND_BYTES = 2**62
"""How large a record may be is for the brokers to say."""
_BLANKS = pa.array([b" ", b"\t", b"\r", b"\n"], pa.binary())


class Documents:
    """One document is one event. With `array_root`, a document that is an array is read as if it stood under that field."""

    def __init__(self, schema: schemas.Schema, array_root: str | None = None) -> None:
        self._parser = parse.EventParser(schema, _NO_BOUND_BYTES)
        self._wrapping = _wrapping(schema, array_root) if array_root else None

    def read(self, values: pa.BinaryArray) -> parse.Parsed:
        """The columns are the declared ones and `_original`, the value's own bytes. No value is NULL."""
        wrapped = _wrapped(values, *self._wrapping) if self._wrapping else values
        parsed = self._parser.parse(wrapped)
        if wrapped is values:
            return parsed
        place = parsed.batch.schema.get_field_index(blocks.ORIGINAL)
        own = values.take(pa.array(parsed.accepted))
        return dataclasses.replace(parsed, batch=parsed.batch.set_column(place, blocks.ORIGINAL, own))


def _wrapping(schema: schemas.Schema, array_root: str) -> tuple[bytes, bytes]:
    """What to put around an array."""
    field = next(field for field in schema.fields if field.name == array_root)
    names = layout.steps(field)
    return b"".join(b'{"%s":' % name.encode() for name in names), b"}" * len(names)


def _wrapped(values: pa.BinaryArray, before: bytes, behind: bytes) -> pa.BinaryArray:
    first = pc.binary_slice(values, 0, 1)
    begins = pc.equal(first, b"[").to_numpy(zero_copy_only=False)
    for at in np.flatnonzero(pc.is_in(first, value_set=_BLANKS).to_numpy(zero_copy_only=False)).tolist():
        begins[at] = values[at].as_py().lstrip()[:1] == b"["
    if not begins.any():
        return values
    head, tail = (pc.if_else(pa.array(begins), pa.scalar(part), pa.scalar(b"")) for part in (before, behind))
    return pc.binary_join_element_wise(head, values, tail, b"")
