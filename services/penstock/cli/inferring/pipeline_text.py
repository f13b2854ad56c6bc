"""A sample's fields as the text of a pipeline file, with comments where a person should look. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from penstock.cli.inferring import profile, sample

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def render(found: sample.Sample, *, name: str, source: str) -> str:
    """The whole file. It passes `penstock validate` and runs as it is."""
    table = name.replace("-", "_")
    lines = [
        f"# Made by `penstock infer` from {found.events:,} events of {_comment(source)}. Check what is marked, then:",
        "#   penstock validate FILE      penstock run FILE",
        "apiVersion: penstock.dev/v1alpha1",
        "kind: BatchPipeline",
        f"metadata: {{name: {quoted(name)}}}",
        "spec:",
        "  schema:",
        "    # required: the field was there, and not null, in every event of the sample.",
        "    fields:",
        *(f"      {line}" for field in found.fields for line in _member(field)),
        *_left_out(found.left_out),
        *_deduplicate(found.key),
        "  sinks:",
        "    - name: warehouse",
        "      type: DuckDB # a file on this machine",
        f"      duckDB: {{path: {quoted(f'{name}.duckdb')}, table: {quoted(table)}}}",
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """The text as a YAML scalar that every reader takes for text."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _member(member: profile.Member) -> Iterator[str]:
    pairs = [f"name: {quoted(member.name)}"]
    if member.path:
        pairs.append(f"path: {quoted(member.path)}")
    pairs.append(f"type: {member.guess.type.value}")
    if member.required:
        pairs.append("required: true")
    yield from _item(pairs, member.guess)


def _item(pairs: list[str], guess: profile.Guess) -> Iterator[str]:
    inner = list(_inside(guess))
    note = f" # {_comment(guess.note)}" if guess.note else ""
    if not inner:
        yield f"- {{{', '.join(pairs)}}}{note}"
        return
    yield f"- {pairs[0]}{note}"
    yield from (f"  {line}" for line in (*pairs[1:], *inner))


def _inside(guess: profile.Guess) -> Iterator[str]:
    if guess.members:
        yield "fields:"
        yield from (f"  {line}" for member in guess.members for line in _member(member))
    if guess.element is not None:
        inner = list(_inside(guess.element))
        if not inner:
            yield f"element: {{type: {guess.element.type.value}}}"
            return
        yield "element:"
        yield f"  type: {guess.element.type.value}"
        yield from (f"  {line}" for line in inner)


def _left_out(members: tuple[str, ...]) -> Iterator[str]:
    if members:
        yield "      # Not declared, because no path can name them or there are too many. They are kept, and SQL reaches them:"
        yield from (f"      #   {_comment(reach(member))}" for member in members)


def reach(member: str) -> str:
    """The SQL expression for a member that is not declared."""
    escaped = json.dumps(member, ensure_ascii=False).replace("'", "''")
    return f"original->>'$.{escaped}'"


def _deduplicate(key: str) -> Iterator[str]:
    if key:
        yield f"  # {key} was different in every event. To land an event once however often it is sent:"
        yield f"  # deduplicate: {{key: [{quoted(key)}], windowSeconds: 600}}"
