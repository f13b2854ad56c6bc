"""One value at a time, as JSON has it: for what stays JSON text, and what the reading in bulk is compared with."""

from __future__ import annotations

import base64
import datetime
import decimal
import struct
import uuid
from collections.abc import Iterator
from typing import Any

from penstock.core.records.avro import nodes

_DEEPEST = 64
_LONGEST = 70
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_TICKS = {
    "timestamp-millis": 1_000,
    "timestamp-micros": 1,
    "local-timestamp-millis": 1_000,
    "local-timestamp-micros": 1,
}


class BrokenError(ValueError):
    """Bytes that are not what the schema says."""


def value(node: nodes.Node, content: bytes) -> Any:
    """Of exactly these bytes. Raises BrokenError."""
    reading = _Reading(content)
    try:
        found = reading.value(node, 0)
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError, decimal.InvalidOperation) as error:
        raise BrokenError(str(error)) from error
    if reading.at != len(content):
        raise BrokenError("bytes behind the value")
    return found


class _Reading:
    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def value(self, node: nodes.Node, depth: int) -> Any:
        if depth > _DEEPEST:
            raise BrokenError("nested too deep")
        match node.kind:
            case "null":
                return None
            case "boolean":
                return self._take(1) == b"\x01"
            case "int" | "long":
                return _whole(node, self._long())
            case "float":
                return struct.unpack("<f", self._take(4))[0]
            case "double":
                return struct.unpack("<d", self._take(8))[0]
            case "string":
                return self._take(self._long()).decode()
            case "bytes":
                return _octets(node, self._take(self._long()))
            case "fixed":
                return _octets(node, self._take(node.size))
            case "enum":
                return node.symbols[self._index(len(node.symbols))]
            case "union":
                return self.value(node.members[self._index(len(node.members))][1], depth + 1)
            case "array":
                return [self.value(node.members[0][1], depth + 1) for _ in self._items()]
            case "map":
                return {self._take(self._long()).decode(): self.value(node.members[0][1], depth + 1) for _ in self._items()}
            case _:
                return {name: self.value(member, depth + 1) for name, member in node.members}

    def _items(self) -> Iterator[int]:
        while count := self._long():
            if count < 0:
                self._long()
            if abs(count) > len(self._content) - self.at:
                raise BrokenError("more items than bytes")
            yield from range(abs(count))

    def _index(self, most: int) -> int:
        found = self._long()
        if not 0 <= found < most:
            raise BrokenError("an index that the schema doesn't have")
        return found

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._content) - self.at:
            raise BrokenError("the record ends in the middle of a value")
        self.at += count
        return self._content[self.at - count : self.at]

    def _long(self) -> int:
        found = shift = 0
        while True:
            byte = self._content[self.at]
            self.at += 1
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return ((found & (2**64 - 1)) >> 1) ^ -(found & 1)
            if shift >= _LONGEST:
                raise BrokenError("a number without an end")


def _whole(node: nodes.Node, found: int) -> Any:
    if node.logical in _TICKS:
        return (_EPOCH + datetime.timedelta(microseconds=found * _TICKS[node.logical])).isoformat().replace("+00:00", "Z")
    if node.logical == "date":
        return (_EPOCH.date() + datetime.timedelta(days=found)).isoformat()
    return found


def _octets(node: nodes.Node, found: bytes) -> Any:
    if node.logical == "decimal":
        return str(decimal.Decimal(int.from_bytes(found, "big", signed=True)).scaleb(-node.scale))
    if node.logical == "uuid" and len(found) == 16:
        return str(uuid.UUID(bytes=found))
    return base64.b64encode(found).decode()
