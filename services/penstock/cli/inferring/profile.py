"""What the values at one place of a sample of events have in common, and the declared type that takes them all.

Pure. A text is a time, a date or a UUID exactly when the reader that ingest uses says so; where values disagree the answer is
the narrowest type that takes every one, in the end Json.
"""

from __future__ import annotations

import collections
import dataclasses
import re

from penstock.api.model import base
from penstock.api.model import schema as api_schema
from penstock.core import schema as schemas
from penstock.core.parsing import rejection, scalars

_Types = schemas.FieldType
_TEXTS = (_Types.TIMESTAMP, _Types.DATE, _Types.UUID)
_MOST_MEMBERS = 64
_TOO_WIDE = "number"
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")
_EPOCH_MILLISECONDS = (1_000_000_000_000, 4_000_000_000_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A declared type with what is inside it, and a note for the person who reads it."""

    type: schemas.FieldType
    note: str = ""
    element: Guess | None = None
    members: tuple[Member, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A field as it is to be declared; `path` is empty where it stands under its own name."""

    name: str
    path: str
    required: bool
    guess: Guess


class Profile:
    """Collects values one by one (`add`), then answers (`guess`)."""

    def __init__(self) -> None:
        self.values = 0
        self.nulls = 0
        self.members: dict[str, Profile] = {}
        self._items: Profile | None = None
        self._kinds: collections.Counter[str] = collections.Counter()
        self._seen: set[str] = set()
        self._local_times = 0
        self._epochs = 0

    def add(self, value: object) -> None:
        """One value, its numbers as the tokens of `core.parsing.scalars`."""
        self.values += 1
        if value is None:
            self.nulls += 1
            return
        self._kinds[_kind(value)] += 1
        if isinstance(value, dict):
            self._add_object(value)
        elif isinstance(value, list):
            self._add_items(value)
        else:
            self._add_scalar(str(value))

    def always_in(self, holders: int) -> bool:
        """Whether each of the objects that could hold it did, and never as null."""
        return self.values - self.nulls == holders

    @property
    def distinct(self) -> bool:
        """Whether no two values were equal."""
        return len(self._seen) == self.values

    def guess(self, depth: int = 1) -> Guess:
        """`depth` is the level of the field itself; deeper than the API goes, everything is Json."""
        kinds = set(self._kinds)
        if not kinds:
            return Guess(type=_Types.JSON, note="null in every sample: declare its type")
        if kinds == {_Types.STRUCT.value}:
            return self._struct(depth)
        if kinds == {_Types.LIST.value}:
            return self._list(depth)
        return self._scalar(kinds)

    def _add_object(self, value: dict[str, object]) -> None:
        for name, inner in value.items():
            self.members.setdefault(name, Profile()).add(inner)

    def _add_items(self, value: list[object]) -> None:
        self._items = self._items or Profile()
        for item in value:
            self._items.add(item)

    def _add_scalar(self, text: str) -> None:
        self._seen.add(text)
        self._local_times += bool(_LOCAL_TIME.fullmatch(text))
        self._epochs += text.isdecimal() and len(text) == 13 and _EPOCH_MILLISECONDS[0] <= int(text) < _EPOCH_MILLISECONDS[1]

    def _scalar(self, kinds: set[str]) -> Guess:
        if len(kinds) == 1 and (kind := next(iter(kinds))) != _TOO_WIDE:
            return Guess(type=_Types(kind), note=self._hint())
        if kinds == {_Types.INT64.value, _Types.FLOAT64.value}:
            return Guess(type=_Types.FLOAT64)
        if kinds <= {_Types.STRING.value, *(kind.value for kind in _TEXTS)}:
            return Guess(type=_Types.STRING, note=self._mixture())
        if kinds == {_TOO_WIDE}:
            return Guess(type=_Types.JSON, note="numbers beyond 64 bits; a Decimal with scale 0 takes them if they are whole")
        return Guess(type=_Types.JSON, note=self._mixture())

    def _hint(self) -> str:
        count = self.values - self.nulls
        if self._local_times == count:
            return "a time without its offset: strptime() in the transform makes it a TIMESTAMP"
        if self._epochs == count:
            return "looks like a time: {type: Timestamp, format: EpochMilliseconds}"
        return ""

    def _mixture(self) -> str:
        return "mixed: " + ", ".join(f"{kind} in {count:,}" for kind, count in self._kinds.most_common())

    def _list(self, depth: int) -> Guess:
        if depth >= api_schema.MAX_DEPTH:
            return Guess(type=_Types.JSON, note="nested too deep to declare")
        if self._items is None or not self._items.values:
            return Guess(type=_Types.LIST, element=Guess(type=_Types.JSON), note="empty in every sample: declare its element")
        inner = self._items.guess(depth + 1)
        return Guess(type=_Types.LIST, element=inner, note=inner.note)

    def _struct(self, depth: int) -> Guess:
        if depth >= api_schema.MAX_DEPTH:
            return Guess(type=_Types.JSON, note="nested too deep to declare")
        if not self.members:
            return Guess(type=_Types.JSON, note="an empty object in every sample")
        if len(self.members) > _MOST_MEMBERS:
            return Guess(type=_Types.JSON, note=f"{len(self.members):,} different members: more a map than a struct")
        unnameable = [name for name in self.members if not is_column(name)]
        if unnameable or len({name.lower() for name in self.members}) < len(self.members):
            return Guess(type=_Types.JSON, note="holds names that can't be columns; reach inside with ->>")
        holders = self._kinds[_Types.STRUCT.value]
        return Guess(type=_Types.STRUCT, members=tuple(self._member(name, holders, depth) for name in self.members))

    def _member(self, name: str, holders: int, depth: int) -> Member:
        profile = self.members[name]
        return Member(name=name, path="", required=profile.always_in(holders), guess=profile.guess(depth + 1))


def is_column(name: str) -> bool:
    """Whether a column can have this name. Names that start with an underscore are left to Penstock's own columns."""
    return bool(re.fullmatch(base.COLUMN, name)) and len(name) <= 63 and not name.startswith("_")


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return _Types.STRUCT.value
    if isinstance(value, list):
        return _Types.LIST.value
    if isinstance(value, bool):
        return _Types.BOOLEAN.value
    if isinstance(value, scalars.IntegerToken):
        return _Types.INT64.value if _takes(_Types.INT64, value) else _TOO_WIDE
    if isinstance(value, scalars.RealToken):
        return _Types.FLOAT64.value if _takes(_Types.FLOAT64, value) else _TOO_WIDE
    return next((kind.value for kind in _TEXTS if _takes(kind, value)), _Types.STRING.value)


def _takes(kind: schemas.FieldType, value: object) -> bool:
    try:
        scalars.read(value, schemas.Field(name="value", type=kind), "")
    except rejection.RefusedError:
        return False
    return True
