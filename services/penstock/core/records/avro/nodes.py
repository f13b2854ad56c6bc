"""A writer's schema as a tree, names resolved: what the bytes of one record are made of, in order.

After the Avro 1.12 specification. A named type that holds itself is the same node again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "error", "enum", "fixed"})
_MOST_CHARACTERS = 1 << 20
_DEEPEST = 64


class SchemaError(ValueError):
    """A text that is no Avro schema, or one that this reader doesn't take; the message says where."""


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """`kind` is Avro's word. `members` belong to records (by name) and, with empty names, to unions, arrays and maps."""

    kind: str
    logical: str = ""
    name: str = ""
    members: Sequence[tuple[str, Node]] = ()
    symbols: Sequence[str] = ()
    size: int = 0
    scale: int = 0

    @property
    def words(self) -> str:
        """As a message calls it."""
        return self.logical or (" or ".join(node.kind for _, node in self.members) if self.kind == "union" else self.kind)


def parsed(text: str) -> Node:
    """Raises SchemaError."""
    if len(text) > _MOST_CHARACTERS:
        raise SchemaError(f"a schema of {len(text):,} characters")
    try:
        return _Parser().node(json.loads(text), "", 0)
    except (ValueError, RecursionError) as error:
        raise SchemaError(str(error)) from error


class _Parser:
    def __init__(self) -> None:
        self._named: dict[str, Node] = {}

    def node(self, told: Any, space: str, depth: int) -> Node:
        if depth > _DEEPEST:
            raise SchemaError(f"nested deeper than {_DEEPEST}")
        if isinstance(told, str):
            return self._by_name(told, space)
        if isinstance(told, list):
            return Node("union", members=[("", self.node(one, space, depth + 1)) for one in told])
        if not isinstance(told, Mapping) or "type" not in told:
            raise SchemaError(f"{str(told)[:80]} is no type")
        kind = told["type"]
        if kind in ("array", "map"):
            inner = told.get("items" if kind == "array" else "values")
            return Node(kind, members=[("", self.node(inner, space, depth + 1))])
        if isinstance(kind, str) and kind in _NAMED:
            return self._define(kind, told, space, depth)
        return _with_logical(self.node(kind, space, depth + 1), told)

    def _by_name(self, name: str, space: str) -> Node:
        if name in PRIMITIVES:
            return Node(name)
        for full in (name, f"{space}.{name}"):
            if full in self._named:
                return self._named[full]
        raise SchemaError(f"no type is called {name[:80]}")

    def _define(self, kind: str, told: Mapping[str, Any], space: str, depth: int) -> Node:
        name = str(told.get("name", ""))
        space = name.rpartition(".")[0] or str(told.get("namespace", space))
        short = name.rpartition(".")[2]
        made = Node("record" if kind == "error" else kind, name=short)
        self._named[f"{space}.{short}" if space else short] = made
        if kind == "enum":
            made.symbols = [str(one) for one in told.get("symbols", ())]
        elif kind == "fixed":
            made.size = int(told.get("size", -1))
            if made.size < 0:
                raise SchemaError(f"fixed {short}: no size")
        else:
            fields = told.get("fields", ())
            made.members = [(str(field["name"]), self.node(field["type"], space, depth + 1)) for field in fields]
        return _with_logical(made, told)


def _with_logical(node: Node, told: Mapping[str, Any]) -> Node:
    logical = str(told.get("logicalType", ""))
    if not logical:
        return node
    node.logical, node.scale = logical, int(told.get("scale", 0))
    return node
