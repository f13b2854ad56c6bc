"""AND, OR and NOT of a predicate, tried from left to right.

The engine promises no order: in one query it stops at the first false part, in another it works out all of them, and a part
that guards another (`kind = 'n' AND CAST(text AS INTEGER) > 0`) guards it only sometimes. Rows, counts and retries would
then disagree. Inside CASE the order is kept, so predicates are rewritten into it; the answer is never NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from penstock.core.transform import engine, scope


def is_true(node: engine.Node) -> engine.Node:
    """True where the predicate is; false where it is false or NULL."""
    return _case([_true(node)], then=True)


def is_false(node: engine.Node) -> engine.Node:
    """True where the predicate is false; false where it is true or NULL."""
    return _case([_false(node)], then=True)


def _true(node: engine.Node) -> engine.Node:
    if node["type"] == "CONJUNCTION_AND":
        return _case(map(_not(_true), node["children"]), then=False)
    if node["type"] == "CONJUNCTION_OR":
        return _case(map(_true, node["children"]), then=True)
    return _false(node["children"][0]) if node["type"] == "OPERATOR_NOT" else node


def _false(node: engine.Node) -> engine.Node:
    if node["type"] == "CONJUNCTION_AND":
        return _case(map(_false, node["children"]), then=True)
    if node["type"] == "CONJUNCTION_OR":
        return _case(map(_not(_false), node["children"]), then=False)
    return _true(node["children"][0]) if node["type"] == "OPERATOR_NOT" else scope.operator("OPERATOR_NOT", [node])


def _not(condition: Callable[[engine.Node], engine.Node]) -> Callable[[engine.Node], engine.Node]:
    return lambda node: _case([condition(node)], then=False)


def _case(conditions: Iterable[engine.Node], *, then: bool) -> engine.Node:
    """`then` at the first of the conditions that holds, its opposite where none does; NULL does not hold."""
    return scope.case([(condition, scope.truth(then)) for condition in conditions], scope.truth(not then))
