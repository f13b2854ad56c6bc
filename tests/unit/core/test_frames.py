"""Cutting bodies into documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import frames


@pytest.mark.parametrize(
    ("body", "documents", "indices"),
    [
        (b'{"a":1}\n{"a":2}\n', [b'{"a":1}', b'{"a":2}'], [0, 1]),
        (b'{"a":1}\r\n\r\n  \n{"a":2}', [b'{"a":1}', b'{"a":2}'], [0, 3]),
        (b'\xef\xbb\xbf{"a":1}', [b'{"a":1}'], [0]),
        (b' {"a":1}\n\t\n', [b' {"a":1}'], [0]),
        (b"", [], []),
        (b"\n\n", [], []),
        (b'{"a":1}{"a":2}', [b'{"a":1}{"a":2}'], [0]),
    ],
    ids=repr,
)
def test_lines_are_documents_and_blank_ones_are_not(body: bytes, documents: list[bytes], indices: list[int]) -> None:
    """Catches indices that count events instead of lines, so that the sender looks at the wrong one."""
    framed = frames.ndjson(body)
    assert (framed.documents.to_pylist(), framed.indices.tolist()) == (documents, indices)


@pytest.mark.parametrize(
    ("body", "documents", "broken_at"),
    [
        (b'[{"a":1}, {"a":2}]', [b'{"a":1}', b'{"a":2}'], None),
        (b"[]", [], None),
        (b'[{"a":1},{"a":tru},{"b":"]"}]', [b'{"a":1}', b'{"a":tru}', b'{"b":"]"}'], None),
        (b'[{"a":1},]', [b'{"a":1}', b""], None),
        (b'[{"a":1},{"a":2', [b'{"a":1}'], 1),
        (b'[{"a":1},{"a":"x},{"b":1}]', [b'{"a":1}'], 1),
        (b'[{"a":1}] x', [b'{"a":1}'], 1),
        (b"[1 2]", [b"1 2"], None),
        (b'[tru,{"a":"\\"]"}]', [b"tru", b'{"a":"\\"]"}'], None),
    ],
    ids=repr,
)
def test_a_malformed_item_costs_its_neighbours_nothing(body: bytes, documents: list[bytes], broken_at: int | None) -> None:
    """Catches a whole array refused for one item, a bracket in a string taken for structure, and a silent truncation."""
    framed = frames.json_array(body)
    assert framed.documents.to_pylist() == documents
    assert [why.index for why in framed.broken] == ([] if broken_at is None else [broken_at])


def test_what_is_no_array_is_refused_as_a_whole() -> None:
    """Catches one object read as an array of none."""
    with pytest.raises(frames.UnreadableBodyError, match="NDJSON"):
        frames.json_array(b'{"a":1}')


_VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=6), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=6), _VALUES, max_size=3), max_size=4), st.integers(0, 5))
def test_neighbours_of_any_malformed_item_survive(items: list[dict[str, object]], place: int) -> None:
    """Catches a splitter that quotes, escapes or nesting can lead astray."""
    texts = [json.dumps(item).encode() for item in items]
    texts.insert(place, b'{"bad": nope}')
    framed = frames.json_array(b"[" + b", ".join(texts) + b"]")
    assert framed.documents.to_pylist() == texts
    assert framed.broken == ()
