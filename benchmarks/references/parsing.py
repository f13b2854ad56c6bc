"""Parsing, one event after the other: `json.loads`, a check per field, a row."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

Row = dict[str, Any]


class RefusedError(Exception):
    """The event does not fit the schema."""


def parse(documents: Sequence[bytes], schema: pa.Schema) -> tuple[pa.RecordBatch, list[int]]:
    """The accepted events as columns, with their own bytes beside them, and the indices of the refused ones."""
    rows, refused = [], []
    for index, document in enumerate(documents):
        try:
            row = event(document)
        except RefusedError:
            refused.append(index)
            continue
        row["_original"] = document
        rows.append(row)
    return pa.RecordBatch.from_pylist(rows, schema=schema), refused


def event(document: bytes) -> Row:
    """One event's declared fields. Raises RefusedError."""
    try:
        told = json.loads(document, parse_constant=_refuse)
    except ValueError as error:
        raise RefusedError from error
    if not isinstance(told, dict):
        raise RefusedError
    meta = told.get("meta")
    return {
        "id": _text(_required(told, "id")),
        "user_id": _integer(_required(told, "user_id"), 64),
        "ts": _moment(_required(told, "ts")),
        "type": _text(_required(told, "type")),
        "page": _text(told.get("page")),
        "region": _text(told.get("region")),
        "device": _text(_object(meta).get("device-id")) if meta is not None else None,
        "seconds": _number(told.get("seconds")),
        "items": _items(told.get("items")),
    }


def _refuse(token: str) -> float:
    raise ValueError(token)


def _required(told: Row, name: str) -> Any:
    value = told.get(name)
    if value is None:
        raise RefusedError
    return value


def _object(value: Any) -> Row:
    if not isinstance(value, dict):
        raise RefusedError
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise RefusedError
    return value


def _integer(value: Any, bits: int) -> int:
    if type(value) is not int or not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise RefusedError
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise RefusedError
    return float(value)


def _moment(value: Any) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise RefusedError from error
    if moment.tzinfo is None:
        raise RefusedError
    return moment


def _items(value: Any) -> list[Row] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise RefusedError
    return [_item(_object(item)) for item in value]


def _item(told: Row) -> Row:
    return {
        "sku": _text(_required(told, "sku")),
        "qty": _integer(_required(told, "qty"), 32),
        "price": _number(told.get("price")),
    }


def events(documents: Iterable[bytes]) -> list[Row]:
    """Events that are known to be right."""
    return [event(document) for document in documents]
