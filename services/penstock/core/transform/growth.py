"""How many bytes an expression can make of a row, found from the row's sizes before the engine is asked.

The engine's memory limit does not see the text that functions build: one `repeat` of one row can take all memory of the
process in a single call that nothing interrupts. So every expression gets a bound, worked out over its tree: concatenation
adds, repetition and replacement multiply, a list function takes its lambda once for each item. The bound is generous; what
keeps it is safe, and only expressions that can multiply are asked for it again while running.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core.parsing import slots
from penstock.core.transform import engine, explode, functions

Bytes = npt.NDArray[np.float64]
"""One number per row."""

_SCALAR_BYTES: Final = 16.0
_TAME_FACTORS: Final = np.array([64.0, 64.0, 64.0, 256.0])
"""More for a list of many tiny items: each has some bytes of overhead."""
_TAME_BYTES: Final = 64.0 * 1024
_ENGINE_ITEMS: Final = 2048.0
"""How many rows or items the engine works on at a time."""
_PROBE_BYTES: Final = 1024.0 * 1024
_MOST_ACCUMULATED: Final = 1.001
_SCALARS: Final = (
    functions.NUMBERS
    | functions.TIMES
    | frozenset(("+", "-", "*", "/", "//", "%", "**", "^", "&", "|", "~", "<<", ">>", "@"))
    | frozenset(("~~", "!~~", "~~*", "!~~*", "~~~", "^@", "length", "len", "strlen", "contains", "starts_with", "ends_with"))
    | frozenset(("list_sum", "list_avg", "list_count", "list_product", "list_median", "list_bool_and", "list_bool_or"))
    | frozenset(("list_contains", "list_has", "list_position", "array_length", "cardinality", "md5", "sha1", "sha256", "typeof"))
) - {"to_base", "strftime"}
_FACTORS: Final[Mapping[str, float]] = (
    dict.fromkeys(("bin", "to_binary"), 8.0)
    | dict.fromkeys(("to_json", "json_quote", "json_array", "json_object", "json", "array_to_json", "row_to_json"), 6.0)
    | {"hex": 2.0, "to_hex": 2.0, "url_encode": 3.0, "regexp_escape": 2.0, "to_base64": 2.0, "base64": 2.0, "strftime": 32.0}
)
_SPLITTERS: Final = frozenset(
    (
        "split", "str_split", "string_split", "string_to_array", "str_split_regex", "string_split_regex", "regexp_split_to_array",
        "regexp_extract_all", "json_extract", "json_extract_string", "json_extract_path", "json_extract_path_text", "->>",
    )
)  # fmt: skip
_SEPARATED: Final = frozenset(("array_to_string", "list_string_agg"))


class DoublingError(Exception):
    """A list_reduce whose accumulator can grow by a factor with every item."""


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """Of one value: its bytes, and how many items it has if it is a list."""

    bytes: Bytes
    items: Bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """What an expression can make of a row. `tame` ones stay in proportion to their input and need not be asked again."""

    node: engine.Node
    tame: bool
    least: float
    """What it may make of a row that holds nothing."""

    def of(self, extents: Mapping[str, Extent]) -> Bytes:
        """The bytes for each row, from the extents of the columns it reads, by their internal names."""
        return _Measure(extents).total(self.node)


def bound(node: engine.Node, columns: Sequence[str]) -> Bound:
    """The bound of a checked tree over these internal names. Raises DoublingError."""
    sizes = np.array([0.0, 1.0, _PROBE_BYTES, _PROBE_BYTES])
    items = np.array([0.0, 1.0, _PROBE_BYTES / 16, _PROBE_BYTES])
    made = _Measure(dict.fromkeys(columns, Extent(sizes, items))).total(node)
    most = sizes * max(1, len(columns)) * _TAME_FACTORS + _TAME_BYTES
    return Bound(node, tame=bool((made <= most).all()), least=float(made[0]))


def extents(table: pa.Table) -> dict[str, Extent]:
    """The extents of a table's columns, row by row."""
    return {name: _extent(explode.in_one_piece(table.column(name))) for name in table.schema.names}


def _extent(column: Any) -> Extent:
    if pa.types.is_dictionary(column.type):
        found = _extent(column.dictionary)
        places = np.asarray(column.indices.fill_null(0))
        return Extent(found.bytes[places], found.items[places])
    sizes = slots.row_bytes(column).astype(np.float64)
    if not pa.types.is_list(column.type):
        return Extent(sizes, sizes)
    return Extent(sizes, np.asarray(column.value_lengths().fill_null(0)).astype(np.float64))


class _Measure:
    """One walk over a tree. What is made on the way adds up, since the engine may hold all of it at once.

    A lambda is worked out for `_ENGINE_ITEMS` items at a time, so what is only made inside it counts no more often than
    that; `outer` is how many of them stand beside one another already.
    """

    def __init__(self, known: Mapping[str, Extent], outer: Bytes | None = None) -> None:
        self._known = dict(known)
        self._made: list[Bytes] = []
        self._passing: list[Bytes] = []
        rows = next(iter(known.values())).bytes if known else np.zeros(1)
        self._none = Extent(np.zeros_like(rows), np.zeros_like(rows))
        self._outer = np.ones_like(rows) if outer is None else outer

    def total(self, node: engine.Node) -> Bytes:
        value, made, passing = self.parts(node)
        return value + made + passing

    def parts(self, node: engine.Node) -> tuple[Bytes, Bytes, Bytes]:
        """The value, what is made on the way to it, and what is made inside lambdas only."""
        value = self._of(node).bytes
        return value, sum(self._made, self._none.bytes), sum(self._passing, self._none.bytes)

    def _fixed(self, size_bytes: float, items: float = 0.0) -> Extent:
        return Extent(self._none.bytes + size_bytes, self._none.items + items)

    def _of(self, node: engine.Node) -> Extent:
        walk: dict[str, Callable[[engine.Node], Extent]] = {
            "COLUMN_REF": lambda one: self._known[one["column_names"][0].lower()],
            "CONSTANT": lambda one: self._fixed(_SCALAR_BYTES + len(str(one.get("literal", {}).get("text", "")).encode()) * 1.0),
            "CASE": self._case,
            "CAST": lambda one: _scaled(self._of(one["child"]), 4.0, _SCALAR_BYTES * 2),
            "FUNCTION": self._function,
            "OPERATOR": self._operator,
        }
        return walk.get(node["class"], self._predicate)(node)

    def _case(self, node: engine.Node) -> Extent:
        for check in node["case_checks"]:
            self._of(check["when_expr"])
        return _largest([self._of(node["else_expr"]), *(self._of(check["then_expr"]) for check in node["case_checks"])])

    def _operator(self, node: engine.Node) -> Extent:
        parts = [self._of(child) for child in node["children"]]
        if node["type"] in ("OPERATOR_COALESCE", "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT"):
            return _largest(parts)
        return _added(parts) if node["type"] == "ARRAY_CONSTRUCTOR" else self._fixed(_SCALAR_BYTES)

    def _predicate(self, node: engine.Node) -> Extent:
        for key in ("left", "right", "input", "lower", "upper"):
            if key in node:
                self._of(node[key])
        for child in node.get("children", ()):
            self._of(child)
        return self._fixed(_SCALAR_BYTES)

    def _function(self, node: engine.Node) -> Extent:
        name = str(node["function_name"]).lower()
        arguments = [argument["expression"] for argument in node["arguments"]]
        lambdas = [argument for argument in arguments if argument["class"] == "LAMBDA"]
        if name in functions.LAMBDA_TAKERS and lambdas:
            plain = [self._of(argument) for argument in arguments if argument["class"] != "LAMBDA"]
            made = self._folded(lambdas[0], plain) if "reduce" in name else self._each(name, lambdas[0], plain[0])
        else:
            made = self._called(name, arguments, [self._of(argument) for argument in arguments])
        self._made.append(made.bytes)
        return made

    def _called(self, name: str, arguments: Sequence[engine.Node], parts: Sequence[Extent]) -> Extent:
        if name in _SCALARS or not parts:
            return self._fixed(_SCALAR_BYTES) if name not in ("greatest", "least") else _largest(parts)
        if name in functions.GROWING:
            return self._repeated(name, arguments, parts)
        if name in ("replace", "regexp_replace") and len(parts) > 2:
            return _flat((parts[0].bytes + 1) * (parts[2].bytes + 1))
        if name in _SEPARATED and len(parts) > 1:
            return _flat(parts[0].bytes * 4 + (parts[0].items + 1) * (parts[1].bytes + _SCALAR_BYTES))
        if name in functions.FORMATTING:
            return _flat(sum((part.bytes for part in parts), 1000.0 * len(parts) + parts[0].bytes))
        if name in _SPLITTERS:
            return Extent(parts[0].bytes * 16 + _SCALAR_BYTES, parts[0].bytes + 1)
        return _scaled(_added(parts), _FACTORS.get(name, 1.0), _SCALAR_BYTES)

    def _repeated(self, name: str, arguments: Sequence[engine.Node], parts: Sequence[Extent]) -> Extent:
        numbers = [abs(int(one["literal"]["text"])) for one in arguments if one.get("literal", {}).get("kind") == "INTEGER"]
        most = float(max(numbers, default=functions.MOST_REPEATS))
        if name == "repeat":
            return _scaled(parts[0], most, 0.0)
        return self._fixed(8 * most, most) if name in ("range", "generate_series") else self._fixed(4 * most)

    def _each(self, name: str, node: engine.Node, given: Extent) -> Extent:
        """A body that grows faster than its item grows fastest when one item has all the bytes: that, and one call for each."""
        inside = _parameters(node)
        beside = np.minimum(given.items * self._outer, _ENGINE_ITEMS)
        alone = self._inside(node, dict.fromkeys(inside, self._none), beside)
        together = self._inside(node, dict.fromkeys(inside, given), beside)
        self._passing.append(beside * alone[1] + together[1] + alone[2] + together[2])
        made = given.items * alone[0] + together[0]
        if "filter" in name:
            self._made.append(made)
            return given
        return Extent(made, given.items)

    def _inside(self, node: engine.Node, known: Mapping[str, Extent], beside: Bytes) -> tuple[Bytes, Bytes, Bytes]:
        return _Measure(self._known | dict(known), beside).parts(node["expr"])

    def _folded(self, node: engine.Node, given: Sequence[Extent]) -> Extent:
        """The accumulator may take in each item; every form it had on the way counts."""
        names = _parameters(node)
        start = given[1] if len(given) > 1 else given[0]
        rest, one = dict.fromkeys(names[1:], given[0]), self._outer
        small, large = (self._inside(node, rest | {names[0]: _flat(self._none.bytes + big)}, one)[0] for big in (1e12, 2e12))
        if (large - small > 1e12 * _MOST_ACCUMULATED).any():
            raise DoublingError
        alone = sum(self._inside(node, dict.fromkeys(names, self._none), one))
        together = sum(self._inside(node, rest | {names[0]: start}, one))
        made = given[0].items * alone + together
        if (large - small).any():
            self._made.append(made * given[0].items)
        return _flat(made)


def _parameters(node: engine.Node) -> list[str]:
    lhs = node["lhs"]
    each = [lhs] if lhs["class"] == "COLUMN_REF" else [argument["expression"] for argument in lhs["arguments"]]
    return [one["column_names"][0].lower() for one in each]


def _flat(size_bytes: Bytes) -> Extent:
    return Extent(size_bytes, size_bytes)


def _scaled(one: Extent, factor: float, more: float) -> Extent:
    return Extent(one.bytes * factor + more, np.maximum(one.items, one.bytes) if factor > 1 else one.items)


def _added(parts: Sequence[Extent]) -> Extent:
    return Extent(
        np.asarray(sum(part.bytes for part in parts)), np.asarray(sum(part.items for part in parts)) + float(len(parts))
    )


def _largest(parts: Sequence[Extent]) -> Extent:
    return Extent(np.maximum.reduce([part.bytes for part in parts]), np.maximum.reduce([part.items for part in parts]))
