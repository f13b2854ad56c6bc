"""From a person's SQL expression to SQL that is known to be harmless.

The engine's own parser reads the text; every node of the tree must be of a kind on the list, every function and type too,
every name a known column. The SQL that runs is written from that tree, never the text itself, and is then read and judged
once more with only internal names allowed: whatever the engine is given has passed the same walk.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Final

from penstock.core.transform import engine, functions, scope

MOST_CHARACTERS: Final = 10_000
MOST_NODES: Final = 5_000
"""Nodes of one expression with its variables put in; bounds what nested variables can grow to."""
MOST_DEPTH: Final = 60
_MOST_WRITTEN_DEPTH = 4 * MOST_DEPTH
"""Predicates are written in a form of their own, up to four levels for one."""

_OPERATORS = frozenset(
    {
        "OPERATOR_IS_NULL",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_NOT",
        "OPERATOR_COALESCE",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "ARRAY_EXTRACT",
        "ARRAY_SLICE",
        "STRUCT_EXTRACT",
        "ARRAY_CONSTRUCTOR",
    }
)
_REFUSED_CLASSES: Final[Mapping[str, tuple[str, str]]] = {
    "SUBQUERY": ("holds a query of its own", "a transform sees one row and no tables; over a list there are list functions"),
    "WINDOW": ("looks at other rows", "a transform sees one row; order and rank belong in the store"),
    "STAR": ("stands for many columns", "name each column in its own entry of select"),
    "PARAMETER": ("holds a parameter", "there is nothing to fill it; write the value"),
    "DEFAULT": ("asks for a default", "write the value"),
    "POSITIONAL_REFERENCE": ("speaks of a column by number", "use its name"),
    "COLLATE": ("asks for a collation", "use lower() or strip_accents() on both sides"),
}
_WIDE = re.compile(r"\d{4,}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A checked expression: its tree over internal names, and what the walk learnt on the way."""

    node: engine.Node
    origin: scope.Origin | None
    weight: int
    depth: int
    uses: tuple[str, ...]

    def column(self, name: str = "") -> scope.Column:
        """As something other expressions may speak of; `name` is given to variables."""
        uses = (*((name,) if name else ()), *self.uses)
        return scope.Column(node=self.node, origin=self.origin, weight=self.weight, depth=self.depth, uses=uses)


class Parser:
    """Reads and writes expressions with an engine's own parser."""

    def __init__(self, opened: engine.Engine) -> None:
        self._engine = opened
        self._bare = opened.parse("SELECT 1")
        self._shape = _placeless(_without_values(self._bare)[0])

    def read(self, sql: str, known: scope.Scope) -> Expression:
        """Check one expression against the columns it may use. Raises RefusedError."""
        if len(sql) > MOST_CHARACTERS:
            raise scope.RefusedError(f"is longer than {MOST_CHARACTERS:,} characters", "move parts of it into variables")
        # A column called "order" or "at" is a column all the same where nothing else is said.
        node = scope.column_ref(sql.strip()) if sql.strip() in known else self._parse(sql)
        if node.get("alias"):
            raise scope.RefusedError(f'gives itself the name "{node["alias"]}"', "the name belongs beside it, in `name`")
        walk = _Walk(known)
        made = walk.expression(node, frozenset(), 1)
        if walk.nodes > MOST_NODES or walk.depth > MOST_DEPTH:
            raise scope.RefusedError("is too large with its variables put in", "use fewer variables inside one another")
        return Expression(
            node=made,
            origin=known.find(node["column_names"]).origin if node["class"] == "COLUMN_REF" else None,
            weight=walk.nodes,
            depth=walk.depth,
            uses=tuple(dict.fromkeys(walk.uses)),
        )

    def write(self, node: engine.Node, internal: scope.Scope) -> str:
        """The SQL of a checked tree, after reading it back and judging it once more. Raises RefusedError."""
        tree = copy.deepcopy(self._bare)
        tree["statements"][0]["node"]["select_list"] = [node]
        try:
            sql = self._engine.unparse(tree).removeprefix("SELECT ")
        except (engine.QueryError, RecursionError) as error:
            raise scope.RefusedError(f"can't be written back: {error}") from error
        _Walk(internal, _MOST_WRITTEN_DEPTH).expression(self._parse(sql), frozenset(), 1)
        return sql

    def _parse(self, sql: str) -> engine.Node:
        try:
            tree = self._engine.parse(f"SELECT {sql}\n")
        except RecursionError as error:
            raise _too_deep() from error
        except engine.QueryError as error:
            raise _too_deep() if "expression depth" in str(error) else scope.RefusedError(f"is not SQL: {error}") from error
        if tree["error"]:
            raise scope.RefusedError(f"is not SQL: {tree['error_message']}")
        rest, values = _without_values(tree)
        if len(values) != 1 or _placeless(rest) != self._shape:
            raise scope.RefusedError("is not one expression", "write one value, without SELECT, FROM, commas or semicolons")
        return values[0]


def _too_deep() -> scope.RefusedError:
    return scope.RefusedError("is nested too deeply", "move parts of it into variables")


def _without_values(tree: engine.Node) -> tuple[engine.Node, list[engine.Node]]:
    """A parsed text without what it selects, and that apart: all a plain SELECT is told from."""
    statements = [statement | {"node": statement["node"] | {"select_list": []}} for statement in tree["statements"]]
    values = [value for statement in tree["statements"] for value in statement["node"].get("select_list", ())]
    return tree | {"statements": statements}, values


def _placeless(tree: object) -> object:
    """The tree without where each node stood in the text."""
    if isinstance(tree, dict):
        return {key: _placeless(value) for key, value in tree.items() if not key.startswith("query_location")}
    return [_placeless(item) for item in tree] if isinstance(tree, list) else tree


_Params = frozenset[str]


class _Walk:
    """One pass over one tree; writes a new tree with every name replaced by what it stands for."""

    def __init__(self, known: scope.Scope, most_depth: int = MOST_DEPTH) -> None:
        self._known, self._most_depth = known, most_depth
        self.nodes = 0
        self.depth = 0
        self.uses: list[str] = []
        self._classes: Mapping[str, Callable[[engine.Node, _Params, int], engine.Node]] = {
            "COLUMN_REF": self._column,
            "CONSTANT": lambda node, params, depth: node,
            "FUNCTION": self._function,
            "OPERATOR": self._operator,
            "CASE": self._case,
            "CAST": self._cast,
            "COMPARISON": lambda node, params, depth: self._children(node, params, depth, "left", "right"),
            "BETWEEN": lambda node, params, depth: self._children(node, params, depth, "input", "lower", "upper"),
            "CONJUNCTION": self._list_of_children,
            "LAMBDA": self._json_arrow,
        }

    def expression(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        self.nodes += 1
        self.depth = max(self.depth, depth)
        if depth > self._most_depth:
            raise _too_deep()
        handler = self._classes.get(node["class"])
        if handler is None:
            what, remedy = _REFUSED_CLASSES.get(node["class"], (f"holds {node['class'].lower()}, which can't be used here", ""))
            raise scope.RefusedError(what, remedy)
        return handler(node, params, depth + 1)

    def _children(self, node: engine.Node, params: _Params, depth: int, *keys: str) -> engine.Node:
        return node | {key: self.expression(node[key], params, depth) for key in keys}

    def _list_of_children(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        return node | {"children": [self.expression(child, params, depth) for child in node["children"]]}

    def _column(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        names = node["column_names"]
        if names[0].lower() in params:
            return node
        found = self._known.find(names)
        self.uses += found.column.uses
        self.nodes += found.column.weight
        self.depth = max(self.depth, depth + found.column.depth)
        return found.node

    def _operator(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        if node["type"] not in _OPERATORS:
            name = node["type"].removeprefix("OPERATOR_").lower()
            raise scope.RefusedError(f'"{name}" can\'t be used here', functions.REFUSED.get(name, ""))
        return self._list_of_children(node, params, depth)

    def _case(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        checks = [self._children(check, params, depth, "when_expr", "then_expr") for check in node["case_checks"]]
        return node | {"case_checks": checks, "else_expr": self.expression(node["else_expr"], params, depth)}

    def _cast(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        _check_type(node["type_expr"])
        return self._children(node, params, depth, "child")

    def _json_arrow(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        # Outside a list function `a -> b` is read as a lambda, but means a member of JSON.
        if node.get("syntax_type") != "SINGLE_ARROW":
            raise scope.RefusedError(
                "holds a lambda outside a list function", "use it in list_transform, list_filter or list_reduce"
            )
        sides = [self.expression(node[key], params, depth) for key in ("lhs", "expr")]
        return scope.call("json_extract", *sides)

    def _function(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        name = _check_function(node)
        arguments = []
        for argument in node["arguments"]:
            inner = argument["expression"]
            is_lambda = inner["class"] == "LAMBDA" and name in functions.LAMBDA_TAKERS
            made = self._lambda(inner, params, depth) if is_lambda else self.expression(inner, params, depth)
            # A named argument, as in struct_pack(a := x), carries its name as alias as well.
            arguments.append({"name": argument["name"], "expression": made | {"alias": inner["alias"]}})
        return node | {"arguments": arguments}

    def _lambda(self, node: engine.Node, params: _Params, depth: int) -> engine.Node:
        if node.get("syntax_type") == "SINGLE_ARROW":
            raise scope.RefusedError("uses x -> … for a list function", "write it as lambda x: …")
        lhs = node["lhs"]
        each = [lhs] if lhs["class"] == "COLUMN_REF" else [argument["expression"] for argument in lhs.get("arguments", ())]
        if not each or any(one["class"] != "COLUMN_REF" or len(one["column_names"]) != 1 for one in each):
            raise scope.RefusedError("holds a lambda whose parameters are not plain names")
        names = {one["column_names"][0].lower() for one in each}
        if any(name.startswith("_") for name in names):
            raise scope.RefusedError("holds a lambda parameter that begins with _", "such names are reserved")
        return self._children(node, params | names, depth, "expr")


def _check_function(node: engine.Node) -> str:
    """The function's name, if it may be called in this way."""
    name = str(node["function_name"]).lower()
    if node["qualified_name"]["path"] != [node["function_name"]] or node["schema"] or node["catalog"]:
        raise scope.RefusedError(f'calls "{".".join(node["qualified_name"]["path"])}"', f"write it as {name}(…)")
    if name not in functions.ALLOWED:
        raise _refused_function(name)
    if node["filter"] or node["distinct"] or node["order_bys"]["orders"] or node["export_state"]:
        raise scope.RefusedError(f"uses {name} with DISTINCT, FILTER or ORDER BY", "those belong to functions over many rows")
    if name == "age" and len(node["arguments"]) != 2:
        raise scope.RefusedError("uses age with one argument, which looks at the clock", "write age(received_at, ts)")
    _check_growth(name, [argument["expression"] for argument in node["arguments"]])
    return name


def _refused_function(name: str) -> scope.RefusedError:
    if reason := functions.REFUSED.get(name):
        return scope.RefusedError(f"uses {name}, which can't be used here", reason)
    near = difflib.get_close_matches(name, sorted(functions.ALLOWED), n=3)
    hint = f" (did you mean {near[0]}?)" if near else ""
    remedy = f"near it there are {', '.join(near)}" if near else "there are functions of text, numbers, times, lists and JSON"
    return scope.RefusedError(f"uses {name}, which is not a function of a transform{hint}", remedy)


def _check_growth(name: str, arguments: list[engine.Node]) -> None:
    if growth := functions.GROWING.get(name):
        sizes = arguments if growth.argument is None else arguments[growth.argument : growth.argument + 1]
        if any(not _is_small(size) for size in sizes):
            most = f"{functions.MOST_REPEATS:,}"
            raise scope.RefusedError(f"gives {name} a size that is not a number up to {most}", "write the size as a number")
    if name in functions.MATCHING and len(arguments) > 1 and not _is_short(arguments[1]):
        most = f"{functions.MOST_PATTERN:,}"
        raise scope.RefusedError(
            f"gives {name} a pattern that isn't plain text of at most {most} characters", functions.PATTERN_REMEDY
        )
    if name in functions.FORMATTING and arguments and not _is_narrow(arguments[0]):
        raise scope.RefusedError(
            f"gives {name} a format that isn't plain text or is too wide", "write widths as numbers below 1000"
        )


def _is_small(node: engine.Node) -> bool:
    literal = node.get("literal", {})
    return literal.get("kind") == "INTEGER" and abs(int(literal["text"])) <= functions.MOST_REPEATS


def _is_short(node: engine.Node) -> bool:
    literal = node.get("literal", {})
    return literal.get("kind") == "STRING" and len(literal["text"]) <= functions.MOST_PATTERN


def _is_narrow(node: engine.Node) -> bool:
    literal = node.get("literal", {})
    text = literal.get("text", "")
    nested = re.search(r"\{[^}]*\{", text.replace("{{", ""))
    return literal.get("kind") == "STRING" and not _WIDE.search(text) and "*" not in text and not nested


def _check_type(node: engine.Node) -> None:
    if node["class"] == "CONSTANT":
        return
    name = str(node.get("type_name", "")).upper()
    if node["class"] != "TYPE" or node["schema"] or node["catalog"] or name not in functions.TYPES:
        raise scope.RefusedError(f"casts to {name or 'a computed type'}, which is not a type of a transform")
    for child in node["children"]:
        _check_type(child)
