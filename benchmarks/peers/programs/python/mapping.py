"""The two jobs as the fastest plain Python that was found: typed msgspec structs, a list at a time. Used by loop.py and flow.py.

Times stay text, which only works because the events' times are all written alike; Penstock parses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Meta(msgspec.Struct, gc=False):
    device: str | None = msgspec.field(default=None, name="device-id")


class Click(msgspec.Struct, gc=False):
    """What the map reads of an event; msgspec skips the rest, and does not look into the items."""

    id: str
    user_id: int
    ts: str
    type: str
    page: str | None = None
    region: str | None = None
    meta: Meta | None = None
    seconds: float | None = None
    items: list[msgspec.Raw] | None = None


class Mapped(msgspec.Struct, gc=False):
    id: str
    user_id: int
    ts: str
    kind: str
    page: str | None
    region: str
    device: str | None
    shard: int
    milliseconds: float | None
    hour: str
    is_sale: bool
    item_count: int


class Item(msgspec.Struct, gc=False):
    sku: str
    qty: int
    price: float | None = None


class Order(msgspec.Struct, gc=False):
    id: str
    user_id: int
    ts: str
    type: str
    items: list[Item] | None = None


class Exploded(msgspec.Struct, gc=False):
    id: str
    user_id: int
    ts: str
    type: str
    item_no: int
    sku: str
    qty: int
    price: float | None
    amount: float | None


_CLICKS = msgspec.json.Decoder(Click)
_ORDERS = msgspec.json.Decoder(Order)
_ENCODER = msgspec.json.Encoder()


class Land:
    """Deduplicate and map. The ids that were seen are kept for ever: with a window it would cost more."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def lines(self, documents: Sequence[bytes]) -> bytes:
        """The rows, a JSON object a line."""
        return _ENCODER.encode_lines([_mapped(event) for event in _decoded(_CLICKS, documents) if self._is_wanted(event)])

    def _is_wanted(self, event: Click) -> bool:
        if event.id in self._seen:
            return False
        self._seen.add(event.id)
        return event.type != "heartbeat"


def explode(documents: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """A key and a JSON object for each item of each event."""
    encode = _ENCODER.encode
    return [
        (
            order.id,
            encode(
                Exploded(
                    order.id,
                    order.user_id,
                    order.ts,
                    order.type,
                    number,
                    item.sku,
                    item.qty,
                    item.price,
                    item.qty * item.price if item.price is not None else None,
                )
            ),
        )
        for order in _decoded(_ORDERS, documents)
        for number, item in enumerate(order.items or ())
    ]


def _mapped(event: Click) -> Mapped:
    return Mapped(
        event.id,
        event.user_id,
        event.ts,
        event.type.upper(),
        event.page.lower() if event.page is not None else None,
        event.region if event.region is not None else "unknown",
        f"d-{event.meta.device}" if event.meta is not None and event.meta.device is not None else None,
        event.user_id % 64,
        event.seconds * 1000.0 if event.seconds is not None else None,
        f"{event.ts[:13]}:00:00Z",
        event.type == "purchase" and event.user_id % 2 == 0,
        len(event.items) if event.items is not None else 0,
    )


def _decoded(decoder: msgspec.json.Decoder[T], documents: Sequence[bytes]) -> list[T]:
    """All at once, which is cheaper; one by one, leaving out what is malformed, only where that fails."""
    try:
        events = decoder.decode_lines(b"\n".join(documents))
    except msgspec.DecodeError:
        events = []
    return events if len(events) == len(documents) else [*_one_by_one(decoder, documents)]


def _one_by_one(decoder: msgspec.json.Decoder[T], documents: Sequence[bytes]) -> list[T]:
    events = []
    for document in documents:
        try:
            events.append(decoder.decode(document))
        except msgspec.DecodeError:
            continue
    return events
