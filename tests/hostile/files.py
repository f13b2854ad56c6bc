"""Hostile pipeline files: YAML that grows, nests, tags, repeats, or is none."""

from __future__ import annotations

from tests.hostile import entry

GOOD = """apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec:
  source: {type: Ingest, ingest: {}}
  sinks:
    - {name: lake, type: DuckDB, duckDB: {path: x.duckdb, table: clicks}}
"""


def _laughs(levels: int) -> bytes:
    lines = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def _merges(levels: int) -> bytes:
    lines = ["m0: &m0 {a0: 1}"] + [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, levels)]
    return "\n".join(lines).encode()


def _good(before: str, after: str) -> bytes:
    assert before in GOOD
    return GOOD.replace(before, after, 1).encode("utf-8", "surrogatepass")


_FILES = {
    "nothing": b"",
    "separators only": b"---\n---\n",
    "text": b"hello",
    "a list": b"[1, 2]",
    "bytes": bytes(range(128, 256)),
    "UTF-16": GOOD.encode("utf-16"),
    "a NUL": _good("clicks", "cl\0icks"),
    "an escape of no character": _good("clicks}", '"\\U00110000"}'),
    "half a surrogate pair": _good("clicks}", '"\\ud800"}'),
    "tabs": _good("  source", "\tsource"),
    "one key twice": _good("kind:", "apiVersion: v1\nkind:"),
    "one key twice, once by merging": _good("metadata: {name: clicks}", "metadata: {<<: {name: a}, name: clicks}"),
    "a Python object": _good("clicks}", "!!python/object/apply:os.system ['id']}"),
    "a Python name": _good("clicks}", "!!python/name:os.system}"),
    "a tag of its own": _good("clicks}", "!evil x}"),
    "a binary": _good("clicks}", "!!binary aGk=}"),
    "an anchor that holds itself": b"a: &a [*a]",
    "a mapping that holds itself": b"&a {b: *a}",
    "a merge that holds itself": b"a: &a {<<: *a}",
    "an alias of nothing": b"a: *b",
    "an anchor twice": b"a: &x 1\nb: &x 2\nc: *x",
    "a list as a key": b"? [1, 2]\n: 3",
    "a number as a key": b"1: 2",
    "1:30 and yes": _good("clicks}", "1:30}"),
    "a number of 100,000 digits": _good("clicks}", "9" * 100_000 + "}"),
    "1e400": _good("clicks}", "1e400}"),
    "an exponent of a million": _good("clicks}", "1e1000000}"),
    "a name that climbs": _good("clicks}", "../../etc}"),
    "a name that steers the terminal": _good("clicks}", '"\\e[2J"}'),
    "a table that climbs": _good("table: clicks", "table: ../clicks"),
    "a table that quotes": _good("table: clicks", "table: 'a\"; DROP TABLE b; --'"),
    "a table in look-alikes": _good("table: clicks", "table: \u0441licks"),
    "a table of 300 characters": _good("table: clicks", "table: " + "x" * 300),
    "a directive": b"%YAML 9.9\n---\n" + GOOD.encode(),
    "a directive of tags": b"%TAG ! tag:evil:\n---\n!x 1",
    "a flow that is not closed": b"a: [1, {b: ",
    "a quote that is not closed": b'a: "b',
    "a block with a wrong indent": b"a: |9\n b",
    "aliases nine times nine": _laughs(9),
    "merges nine times nine": _merges(9),
    "lists 2,000 deep": b"[" * 2_000,
    "lists 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "mappings 2,000 deep": b"{a: " * 2_000,
    "indents 1,000 deep": b"".join(b" " * n + b"a:\n" for n in range(1_000)),
    "keys of questions": b"? " * 5_000,
    "dashes on a line": b"- " * 5_000,
    "10 MB": b"a: " + b"x" * 10_000_000,
    "1 MiB of one key": b"x" * (entry.MIB - 10) + b": 1",
    "200,000 values": b"a: [" + b"1," * 200_000 + b"]",
    "30,000 documents": b"--- 1\n" * 30_000,
    "100,000 anchors": b"".join(b"a%d: &a%d 1\n" % (n, n) for n in range(40_000)),
}
FILES = tuple(entry.File(name=name, make=lambda text=text: text) for name, text in _FILES.items())  # type: ignore[misc]
