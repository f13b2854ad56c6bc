"""Letters for the tests of the dialects: any letter, and one with every field told."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from penstock.core import deadletters, dialects

_text = st.text(max_size=30)
_number = st.integers(0, 2**53)
_RECORD = {
    "topic": _text,
    "partition": _number,
    "offset": _number,
    "timestamp_microseconds": _number,
    "key": st.none() | st.binary(max_size=20),
    "headers": st.lists(st.tuples(_text, st.none() | st.binary(max_size=20)), max_size=4).map(tuple),
}
_FIELDS = {
    str: _text,
    int: _number,
    bytes: st.binary(max_size=50),
    tuple[int, ...]: st.lists(_number, max_size=4).map(tuple),
    deadletters.Unit: st.sampled_from(deadletters.Unit),
    deadletters.Category: st.sampled_from(deadletters.Category),
    deadletters.OriginalFormat: st.sampled_from(deadletters.OriginalFormat),
    deadletters.Record | None: st.none() | st.builds(deadletters.Record, **_RECORD),
    deadletters.Elsewhere | None: st.none() | st.builds(deadletters.Elsewhere, topic=_text, tool=_text, who=_text),
}
any_letter = st.fixed_dictionaries(
    {field.name: _FIELDS[field.type] for field in msgspec.structs.fields(deadletters.DeadLetter)}
).map(lambda fields: deadletters.DeadLetter(**fields))


def letter(**changes: object) -> deadletters.DeadLetter:
    """Texts are their own names, numbers 7; no other tool wrote it."""
    fields: dict[str, object] = {
        field.name: {str: field.name, int: 7, bytes: b"{}", tuple[int, ...]: (1, 2)}.get(field.type)
        for field in msgspec.structs.fields(deadletters.DeadLetter)
    }
    fields |= {
        "unit": deadletters.Unit.ROW,
        "category": deadletters.Category.SINK_REJECTED,
        "original_format": deadletters.OriginalFormat.JSON,
    }
    return deadletters.DeadLetter(**{**fields, **changes})  # type: ignore[arg-type]


NAMES = sorted({name for dialect in dialects.Dialect for name in dialects.encode(letter(), dialect)[1]})
"""Every header that a letter can have."""
SPRING = [(name, value) for name, value in dialects.encode(letter(), dialects.Dialect.SPRING)[1].items() if "kafka_dlt" in name]
"""As Spring writes them, without ours."""
