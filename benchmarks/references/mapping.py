"""The transform of pipeline.yaml and the explode, one event after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def transform(events: Iterable[Row]) -> list[Row]:
    """The rows of the events that the filter lets through."""
    rows = []
    for event in events:
        row = mapped(event)
        if row is not None:
            rows.append(row)
    return rows


def mapped(event: Row) -> Row | None:
    """One event's row; None when the filter drops it."""
    if event["type"] == "heartbeat":
        return None
    page, region, device, seconds, items = event["page"], event["region"], event["device"], event["seconds"], event["items"]
    return {
        "id": event["id"],
        "user_id": event["user_id"],
        "ts": event["ts"],
        "kind": event["type"].upper(),
        "page": page.lower() if page is not None else None,
        "region": region if region is not None else "unknown",
        "device": f"d-{device}" if device is not None else None,
        "shard": _remainder(event["user_id"], 64),
        "milliseconds": seconds * 1000.0 if seconds is not None else None,
        "hour": event["ts"].replace(minute=0, second=0, microsecond=0),
        "is_sale": event["type"] == "purchase" and event["user_id"] % 2 == 0,
        "item_count": len(items) if items is not None else 0,
    }


FIXED = {"source": "web", "stage": "raw"}


def static(events: Iterable[Row]) -> list[Row]:
    """Six fields and the fixed values."""
    return [_plain(event) | FIXED for event in events]


def expression(events: Iterable[Row]) -> list[Row]:
    """Six fields and one that is worked out."""
    return [
        _plain(event) | {"milliseconds": event["seconds"] * 1000.0 if event["seconds"] is not None else None} for event in events
    ]


def _plain(event: Row) -> Row:
    return {
        "id": event["id"],
        "user_id": event["user_id"],
        "ts": event["ts"],
        "type": event["type"],
        "page": event["page"],
        "region": event["region"],
    }


def _remainder(value: int, divisor: int) -> int:
    """As SQL has it: with the sign of the dividend."""
    return value % divisor if value >= 0 else -(-value % divisor)


def explode(events: Iterable[Row], *, keep_empty: bool = True) -> list[Row]:
    """One row per item of each event's array, with the event's other fields."""
    rows = []
    for event in events:
        items = event["items"]
        if not items:
            if keep_empty:
                rows.append(_row(event, None, None))
            continue
        for number, item in enumerate(items):
            rows.append(_row(event, number, item))
    return rows


def _row(event: Row, number: int | None, item: Row | None) -> Row:
    return {
        "id": event["id"],
        "user_id": event["user_id"],
        "ts": event["ts"],
        "type": event["type"],
        "item_no": number,
        "sku": item["sku"] if item else None,
        "qty": item["qty"] if item else None,
        "price": item["price"] if item else None,
        "amount": item["qty"] * item["price"] if item else None,
    }
