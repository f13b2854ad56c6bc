"""CloudEvents into events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import frames
from penstock.ingest import cloudevents

_EVENT: dict[str, Any] = {"specversion": "1.0", "id": "a", "source": "/s", "type": "t"}
_HEADERS = [("ce-specversion", "1.0"), ("Ce-Id", "a"), ("ce-source", "/s"), ("ce-type", "t"), ("traceparent", "x")]


def _structured(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (_EVENT | changes).items() if value is not ...}).encode()


def _binary(content_type: str, body: bytes, *more: tuple[str, str]) -> frames.Frames:
    return cloudevents.binary(cloudevents.pack([*_HEADERS, *more], content_type, body))


def test_a_structured_event_is_taken_byte_for_byte() -> None:
    """Catches an event that is written anew, and extensions that are dropped."""
    body = b'{ "specversion":"1.0", "id":"a","source":"/s","type":"t","time":"2026-01-01T00:00:00Z","ext":1,"data":{"x":1.10} }'
    assert cloudevents.structured(body).documents.to_pylist() == [body]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ...}, "id"),
        ({"id": ""}, "id"),
        ({"id": 1}, "id"),
        ({"source": ...}, "source"),
        ({"type": ...}, "type"),
        ({"specversion": ...}, "specversion"),
        ({"specversion": "0.3"}, "specversion"),
        ({"time": "yesterday"}, "time"),
        ({"data": 1, "data_base64": "YQ=="}, "data_base64"),
    ],
    ids=str,
)
def test_what_breaks_the_specification_is_refused_by_its_attribute(changes: dict[str, Any], field: str) -> None:
    """Catches an event without identity in the log."""
    found = cloudevents.structured(_structured(**changes))
    assert len(found.documents) == 0
    assert [(why.index, why.field) for why in found.broken] == [(0, field)]


def test_a_batch_refuses_its_bad_events_and_keeps_the_indices_of_the_rest() -> None:
    """Catches a batch refused for one event, and indices counted after the bad ones were taken out."""
    items = [
        _structured(),
        b"[]",
        _structured(id=""),
        b"{nope}",
        _structured(id="e"),
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ]
    found = cloudevents.batch(b"[" + b",".join(items) + b"]")
    assert found.documents.to_pylist() == [items[0], items[4]]
    assert found.indices.tolist() == [0, 4]
    assert sorted(why.index for why in found.broken) == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("content_type", "body", "members"),
    [
        ("application/json", b' {"x": 1.10} ', {"data": {"x": 1.1}}),
        ("application/vnd.a+json; charset=utf-8", b"[1]", {"data": [1]}),
        ("", b"null", {"data": None}),
        ("text/plain", 'say "é"\n'.encode(), {"data": 'say "é"\n'}),
        ("text/plain; charset=latin-1", b"\xe9", {"data_base64": "6Q=="}),
        ("application/octet-stream", b"\0\1", {"data_base64": "AAE="}),
        ("application/json", b"", {}),
    ],
)
def test_a_binary_event_becomes_the_structured_form(content_type: str, body: bytes, members: dict[str, Any]) -> None:
    """Catches a body that is quoted twice, read in the wrong encoding, or lost."""
    (document,) = _binary(content_type, body).documents.to_pylist()
    told = {"datacontenttype": content_type} if content_type else {}
    assert json.loads(document) == _EVENT | told | members


def test_header_values_are_decoded_and_other_headers_are_no_attributes() -> None:
    """Catches percent signs kept as they are, and a header that shows up in the event."""
    (document,) = _binary("", b"", ("ce-subject", "Euro%20%E2%82%AC \udcff")).documents.to_pylist()
    assert json.loads(document) == _EVENT | {"subject": "Euro € \ufffd"}


@pytest.mark.parametrize(
    ("content_type", "body", "more"),
    [
        ("application/json", b'1,"id":"other"', []),
        ("application/json", b'1}{"a":1', []),
        ("application/json", b"{", []),
        ("text/plain", b"\xff", []),
        ("", b"", [("ce-id", "b")]),
        ("", b"", [("ce-data", "x")]),
        ("", b"", [("ce-my-own", "x")]),
        ("", b"", [("ce-datacontenttype", "x")]),
    ],
)
def test_nobody_writes_members_by_way_of_the_body_or_a_header(
    content_type: str, body: bytes, more: list[tuple[str, str]]
) -> None:
    """Catches a body spliced into the event unread, and one attribute sent twice."""
    found = _binary(content_type, body, *more)
    assert (len(found.documents), [why.index for why in found.broken]) == (0, [0])
