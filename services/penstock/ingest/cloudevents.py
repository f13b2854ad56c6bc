"""CloudEvents 1.0 as events: always the structured JSON form, whatever form they came in.

One event is one JSON object with the context attributes and extensions as members, and `data` or `data_base64`; that object
is what the schema describes and what `_original` keeps. A structured event is taken byte for byte. A binary one is put
together from its headers: a JSON body becomes `data` byte for byte, text a string in `data`, anything else `data_base64`.
What breaks the specification is refused event by event.
"""

from __future__ import annotations

import base64
import datetime
import re
import urllib.parse
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import numpy as np
import pyarrow as pa

from penstock.core import frames
from penstock.core.parsing import rejection

_REMEDY = "send specversion, id, source and type as CloudEvents 1.0 defines them"
_PREFIX = "ce-"
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,}")
_FIELD = re.compile(r"(?:field `|`\$\.)(\w+)[^`]*`$")
_BOM = b"\xef\xbb\xbf"
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Envelope(msgspec.Struct):
    """What the specification asks of every event; more members are extensions."""

    specversion: Literal["1.0"]
    id: _Text
    source: _Text
    type: _Text
    subject: _Text | None = None
    time: Annotated[datetime.datetime, msgspec.Meta(tz=True)] | None = None
    datacontenttype: _Text | None = None
    dataschema: _Text | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | msgspec.UnsetType | None = msgspec.UNSET


_envelope = msgspec.json.Decoder(_Envelope)
_one_value = msgspec.json.Decoder(msgspec.Raw)
_binary_head = msgspec.json.Decoder(tuple[str, list[tuple[str, str]]])


def is_binary(headers: Iterable[str]) -> bool:
    """Whether a request with these header names holds one event in binary form."""
    return any(name.lower() == "ce-specversion" for name in headers)


def pack(headers: Iterable[tuple[str, str]], content_type: str, body: bytes) -> bytes:
    """A binary event as one payload for `binary`: its headers as a line of JSON, then its body."""
    attributes = [(name.lower().removeprefix(_PREFIX), value) for name, value in headers if name.lower().startswith(_PREFIX)]
    return msgspec.json.encode((_text(content_type), [(_text(name), _text(value)) for name, value in attributes])) + b"\n" + body


def _text(header: str) -> str:
    """What is not UTF-8 comes out of the server's parser as lone surrogates, which JSON can't hold."""
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def structured(body: bytes) -> frames.Frames:
    """The whole body is one event."""
    return _checked(frames.documents([body.removeprefix(_BOM)]))


def batch(body: bytes) -> frames.Frames:
    """A JSON array of events. Raises frames.UnreadableBodyError when it is none."""
    return _checked(frames.json_array(body))


def binary(payload: bytes) -> frames.Frames:
    """What `pack` made."""
    head, _, body = payload.partition(b"\n")
    content_type, attributes = _binary_head.decode(head)
    try:
        return structured(_put_together(content_type, attributes, body))
    except rejection.RefusedError as why:
        return frames.Frames(documents=pa.array([], pa.binary()), indices=np.zeros(0, np.int64), broken=(why.at(0),))


def _checked(framed: frames.Frames) -> frames.Frames:
    broken = list(framed.broken)
    fitting: list[int] = []
    for place, document in enumerate(framed.documents.to_pylist()):
        try:
            _check(document)
            fitting.append(place)
        except rejection.RefusedError as why:
            broken.append(why.at(int(framed.indices[place])))
    if len(fitting) == len(framed.documents):
        return framed
    taken = np.array(fitting, np.int64)
    return frames.Frames(documents=framed.documents.take(pa.array(taken)), indices=framed.indices[taken], broken=tuple(broken))


def _check(document: bytes) -> None:
    try:
        event = _envelope.decode(document)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        raise rejection.mismatch(field[1] if field else "", f"not a CloudEvent: {error}", _REMEDY) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise rejection.malformed(f"not a CloudEvent: {error}", "send valid JSON (RFC 8259)") from error
    except RecursionError as error:
        raise rejection.malformed("nested too deep", "send flatter events") from error
    if event.data is not msgspec.UNSET and event.data_base64 not in (msgspec.UNSET, None):
        raise rejection.mismatch("data_base64", "stands beside data", "send one of the two")


def _put_together(content_type: str, attributes: list[tuple[str, str]], body: bytes) -> bytes:
    members = {"datacontenttype": content_type} if content_type else {}
    for name, value in attributes:
        if not _ATTRIBUTE.fullmatch(name) or name in ("data", "datacontenttype"):
            why = "can't be the name of an attribute" if name != "datacontenttype" else "is told by Content-Type"
            raise rejection.mismatch(name, f"ce-{name} {why}", "use lower-case letters and digits")
        if name in members:
            raise rejection.mismatch(name, f"ce-{name} stands in the headers more than once", "send each attribute once")
        members[name] = urllib.parse.unquote(value)
    head = msgspec.json.encode(members).removesuffix(b"}")
    return b"".join((head, b"," if members else b"", *_data(content_type, body), b"}")) if body else head + b"}"


def _data(content_type: str, body: bytes) -> tuple[bytes, ...]:
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    if media in ("", "application/json", "text/json") or media.endswith("+json"):
        return b'"data":', _json(body)
    if media.startswith("text/") and "charset" not in parameters.lower().replace("charset=utf-8", ""):
        try:
            return b'"data":', msgspec.json.encode(body.decode())
        except UnicodeDecodeError as error:
            raise rejection.malformed(f"the body is not UTF-8: byte {error.start}", "send text as UTF-8") from error
    return b'"data_base64":"', base64.b64encode(body), b'"'


def _json(body: bytes) -> bytes:
    """Exactly one JSON value, or the body could add members to the event."""
    try:
        return bytes(_one_value.decode(body.removeprefix(_BOM)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejection.malformed(f"the body is not one JSON value: {error}", "send what Content-Type says") from error
