"""SQL expressions for the fuzzers: grown from the functions a transform may use, and noise."""

from __future__ import annotations

from hypothesis import strategies as st

from penstock.core.transform import functions

_NAMES = sorted(name for name in functions.TEXT | functions.NUMBERS | functions.TIMES | functions.LISTS | functions.JSON)
_LEAVES = st.sampled_from(
    [
        "s",
        "n",
        "d",
        "ts",
        "j",
        "l",
        "NULL",
        "1",
        "-1",
        "10000",
        "9223372036854775807",
        "1e308",
        "'x'",
        "''",
        "'%Y'",
        "'$.a'",
        "'['",
        "[1,2]",
        "{'a': s}",
        "true",
        "INTERVAL 1 DAY",
        "DATE '2026-01-01'",
        "range(100)",
        "repeat('x', 10000)",
        "'\\'",
        "'é'",
    ]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    call = st.tuples(st.sampled_from(_NAMES), st.lists(inner, min_size=1, max_size=3))
    return st.one_of(
        call.map(lambda told: f"{told[0]}({', '.join(told[1])})"),
        st.tuples(inner, st.sampled_from(["+", "*", "||", "<<", "//", "->>", "=", "AND", "LIKE", "^"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(sorted(functions.TYPES))).map(lambda told: f"CAST({told[0]} AS {told[1]})"),
        st.tuples(inner, inner).map(lambda told: f"CASE WHEN {told[0]} IS NULL THEN {told[1]} ELSE {told[0]} END"),
        st.tuples(inner, inner).map(lambda told: f"list_transform({told[0]}, lambda x: {told[1]})"),
        st.tuples(inner, inner).map(lambda told: f"list_reduce({told[0]}, lambda x, y: {told[1]} || x)"),
        inner.map(lambda one: f"({one})[1]"),
    )


EXPRESSIONS = st.recursive(_LEAVES | st.just("x"), _grown, max_leaves=6)
NOISE = st.lists(
    st.sampled_from(
        ["(", ")", "'", '"', ";", "--", "/*", "*/", "$$", "SELECT", "FROM", "s", "n", ",", ".", "::", "1", "[", "{", "}"]
    )
    | st.sampled_from(
        ["lambda x:", "->", "WITH", "OVER", "*", "COLUMNS", "?", "$1", "\x00", "\ud800", "CASE", "END", "NOT", "IN"]
    )
    | st.text(max_size=2),
    max_size=12,
).map(" ".join)
