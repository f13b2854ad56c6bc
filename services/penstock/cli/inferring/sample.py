"""A sample of events as the fields a pipeline would declare for them. Pure."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable

from penstock.api.model import base
from penstock.cli.inferring import profile
from penstock.core import schema as schemas
from penstock.core.parsing import scalars

_MOST_FIELDS = 256
_KEY_TYPES = (schemas.FieldType.STRING, schemas.FieldType.UUID)


class SampleError(Exception):
    """A line of the sample is no event; the message names it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`left_out` are members that no field can name, or that are beyond the most a schema holds; `key` may be empty."""

    events: int
    fields: tuple[profile.Member, ...]
    left_out: tuple[str, ...]
    key: str


def read(lines: Iterable[bytes]) -> Sample:
    """The fields of these events, in the order they first appear. Raises SampleError."""
    root = profile.Profile()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            root.add(_event(line, number))
    if not root.members:
        raise SampleError("the sample holds no event with a field")
    return _sample(root)


def _event(line: bytes, number: int) -> dict[str, object]:
    try:
        event = json.loads(line, parse_int=scalars.IntegerToken, parse_float=scalars.RealToken)
    except (ValueError, RecursionError) as error:
        raise SampleError(f"line {number} is no JSON: {error}") from error
    if not isinstance(event, dict):
        raise SampleError(f"line {number} is no JSON object")
    return event


def _sample(root: profile.Profile) -> Sample:
    fields: list[profile.Member] = []
    left_out: list[str] = []
    taken: set[str] = set()
    for member, values in root.members.items():
        if len(fields) == _MOST_FIELDS or not _reachable(member):
            left_out.append(member)
            continue
        name = _column(member, taken)
        taken.add(name.lower())
        path = "" if name == member else f"$.{member}"
        required = values.always_in(root.values)
        fields.append(profile.Member(name=name, path=path, required=required, guess=values.guess()))
    return Sample(events=root.values, fields=tuple(fields), left_out=tuple(left_out), key=_key(root, fields))


def _reachable(member: str) -> bool:
    return profile.is_column(member) or (bool(re.fullmatch(base.JSON_PATH, f"$.{member}")) and "." not in member)


def _column(member: str, taken: set[str]) -> str:
    """A column's name for this member: its own if it can be one and none differs from it by case only."""
    name = member
    if not profile.is_column(name):
        name = re.sub(r"[^A-Za-z0-9]+", "_", member).strip("_") or "field"
        name = f"field_{name}" if name[0].isdecimal() else name
    name = name[:60]
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name.lower() not in taken else next(one for one in numbered if one.lower() not in taken)


def _key(root: profile.Profile, fields: list[profile.Member]) -> str:
    """The field most likely to tell events apart: a text in every event, never twice, best with "id" in its name."""
    if root.values < 2:
        return ""
    profiles = {field.name: root.members[field.path.removeprefix("$.") or field.name] for field in fields}
    unique = [
        field.name for field in fields if field.required and field.guess.type in _KEY_TYPES and profiles[field.name].distinct
    ]
    return min(unique, key=_likeness, default="")


def _likeness(name: str) -> int:
    words = re.split(r"_|(?<=[a-z])(?=[A-Z])", name)
    return 0 if name.lower() == "id" else 1 if {"id", "uuid", "key"} & {word.lower() for word in words} else 2
