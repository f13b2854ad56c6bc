"""The columns an expression may speak of, and what it says when it speaks of another.

A name in the user's SQL never reaches the engine: it is looked up here and becomes the tree of what it stands for, over
internal names that no user can write. That is why hidden columns can't be reached and a variable can't shadow anything.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from penstock.core.transform import engine, functions


class RefusedError(Exception):
    """An expression that may not run, in words for the person who wrote it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class AlreadyRefusedError(RefusedError):
    """Speaks of something that was refused before; saying so again would only hide the cause."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A value that is read, not computed: a source, and the struct members on the way down."""

    source: str
    members: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a name stands for. `type` is None where only the engine knows it; `weight` counts the nodes of the tree.

    `uses` are the variables the tree was made of, outermost first. `refused` stands for an expression that has a problem.
    """

    node: engine.Node
    type: pa.DataType | None = None
    origin: Origin | None = None
    weight: int = 1
    depth: int = 1
    uses: tuple[str, ...] = ()
    refused: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A name looked up: the column, and the members of it that were asked for, spelt as they are declared."""

    column: Column
    members: tuple[str, ...]

    @property
    def node(self) -> engine.Node:
        node = self.column.node
        for member in self.members:
            node = operator("STRUCT_EXTRACT", [node, text_constant(member)])
        return node

    @property
    def origin(self) -> Origin | None:
        """Where the value can be read, if nothing has to be computed."""
        known = self.column.origin
        if known is None or (self.members and self.column.type is None):
            return None
        return Origin(source=known.source, members=known.members + self.members)


class Scope:
    """Columns by name. `absent` gives the reason for names a person may well expect here."""

    def __init__(self, columns: Mapping[str, Column], absent: Mapping[str, str] | None = None) -> None:
        self._columns = dict(columns)
        self._absent = dict(absent or {})

    def with_column(self, name: str, column: Column) -> Scope:
        """The same and one more."""
        return Scope(self._columns | {name: column}, self._absent)

    def __contains__(self, name: str) -> bool:
        return _same_name(name, self._columns) is not None

    def find(self, names: Sequence[str]) -> Found:
        """What `a.b.c` stands for. Raises RefusedError, naming what is near and all there is."""
        first = _same_name(names[0], self._columns)
        if first is None:
            raise self._unknown(names)
        column = self._columns[first]
        if column.refused:
            raise AlreadyRefusedError(f'"{names[0]}" is refused')
        return Found(column, self._members(column, names))

    def _members(self, column: Column, names: Sequence[str]) -> tuple[str, ...]:
        here = column.type
        spelt: list[str] = []
        for at, name in enumerate(names[1:], start=1):
            if here is None:
                return (*spelt, *names[at:])
            if not pa.types.is_struct(here):
                raise _not_a_struct(".".join(names[:at]), name, here)
            declared = {field.name: field.type for field in here}
            known = _same_name(name, declared)
            if known is None:
                raise self._unknown(names)
            spelt.append(known)
            here = declared[known]
        return tuple(spelt)

    def _unknown(self, names: Sequence[str]) -> RefusedError:
        wanted = ".".join(names)
        here = self.names()
        reason = self._absent.get(names[0].lower()) or functions.REFUSED.get(names[0].lower())
        if reason and len(names) == 1:
            return RefusedError(f'"{wanted}" can\'t be used: {reason}', f"columns here: {', '.join(here)}")
        near = difflib.get_close_matches(wanted, here, n=1)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        return RefusedError(f'unknown column "{wanted}"{hint}', f"columns here: {', '.join(here) or 'none'}")

    def names(self) -> list[str]:
        """All columns, structs by their members."""
        return [name for column, known in self._columns.items() for name in _dotted(column, known.type)]


def _dotted(name: str, kind: pa.DataType | None) -> Iterator[str]:
    if kind is None or not pa.types.is_struct(kind):
        yield name
        return
    for field in kind:
        yield from _dotted(f"{name}.{field.name}", field.type)


def _same_name(wanted: str, names: Mapping[str, object]) -> str | None:
    """As SQL has it: case does not matter, unless two names differ in nothing else."""
    if wanted in names:
        return wanted
    alike = [name for name in names if name.lower() == wanted.lower()]
    return alike[0] if len(alike) == 1 else None


def _not_a_struct(owner: str, member: str, kind: pa.DataType) -> RefusedError:
    if pa.types.is_string(kind):
        return RefusedError(f'"{owner}" is text and has no member "{member}"', f"a member of JSON text is {owner}->>'$.{member}'")
    if pa.types.is_list(kind):
        return RefusedError(f'"{owner}" is a list and has no member "{member}"', f"its first item's is {owner}[1].{member}")
    return RefusedError(f'"{owner}" has no member "{member}"; it is not a Struct')


def text_constant(text: str) -> engine.Node:
    """The tree of a quoted text."""
    return _node("CONSTANT", "VALUE_CONSTANT", literal={"kind": "STRING", "text": text})


def number_constant(number: int) -> engine.Node:
    """The tree of a whole number."""
    return _node("CONSTANT", "VALUE_CONSTANT", literal={"kind": "INTEGER", "text": str(number)})


def truth(value: bool) -> engine.Node:
    """The tree of TRUE or FALSE."""
    return _node("CONSTANT", "VALUE_CONSTANT", literal={"kind": "BOOLEAN", "text": str(value).lower()})


def case(checks: Sequence[tuple[engine.Node, engine.Node]], otherwise: engine.Node) -> engine.Node:
    """The tree of CASE WHEN … THEN … ELSE … END."""
    written = [{"when_expr": when, "then_expr": then} for when, then in checks]
    return _node("CASE", "CASE_EXPR", case_checks=written, else_expr=otherwise)


def column_ref(*names: str) -> engine.Node:
    """The tree of a column's name."""
    return _node("COLUMN_REF", "COLUMN_REF", column_names=list(names))


def operator(kind: str, children: list[engine.Node]) -> engine.Node:
    """The tree of one of the engine's built-in operators."""
    return _node("OPERATOR", kind, children=children)


def call(name: str, *arguments: engine.Node) -> engine.Node:
    """The tree of a function called with unnamed arguments."""
    return _node(
        "FUNCTION",
        "FUNCTION",
        function_name=name,
        schema="",
        catalog="",
        filter=None,
        order_bys={"type": "ORDER_MODIFIER", "orders": []},
        distinct=False,
        is_operator=False,
        export_state=False,
        arguments=[{"name": "", "expression": argument} for argument in arguments],
        qualified_name={"path": [name]},
    )


def _node(class_: str, type_: str, **rest: object) -> engine.Node:
    return {"class": class_, "type": type_, "alias": "", "query_location": 0, "query_location_length": 0, **rest}
