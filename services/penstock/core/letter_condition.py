"""`select.where` of a replay: an SQL expression over what a dead letter says of itself, true for the letters that are meant.

Read and judged as a transform's expressions are (`core.transform.syntax`), and run on an engine that reaches nothing. The event's
own bytes are no column: letters are chosen by their headers alone, and a topic of them may be large.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa

from penstock.core import deadletters, errors
from penstock.core.transform import engine, logic, scope, syntax

PATH: Final = "spec.select.where"
_TIME = pa.timestamp("us", tz="UTC")
_PREPARED: Final = "chosen"


class ConditionError(errors.InvalidPipelineError):
    """An expression that can't be a condition, or that fails on a letter; the problem names the field and the remedy."""

    def __init__(self, sql: str, message: str, remedy: str) -> None:
        super().__init__([errors.Problem(field=PATH, value=sql, message=message, remedy=remedy)])


_COLUMNS: Final[dict[str, tuple[pa.DataType, Callable[[deadletters.DeadLetter], Any]]]] = {
    "id": (pa.string(), lambda one: one.id),
    "sink": (pa.string(), lambda one: one.sink),
    "category": (pa.string(), lambda one: one.category.value),
    "stage": (pa.string(), lambda one: one.stage),
    "error_code": (pa.string(), lambda one: one.code),
    "error_message": (pa.string(), lambda one: one.message),
    "expression": (pa.string(), lambda one: one.expression),
    "fingerprint": (pa.string(), lambda one: one.fingerprint),
    "attempt": (pa.int64(), lambda one: one.attempt),
    "log_partition": (pa.int64(), lambda one: one.partition),
    "log_offset": (pa.int64(), lambda one: one.offset),
    "ordinal": (pa.int64(), lambda one: one.ordinal),
    "items": (pa.list_(pa.int64()), lambda one: list(one.items)),
    "received_at": (_TIME, lambda one: one.received_at_microseconds),
    "failed_at": (_TIME, lambda one: one.failed_at_microseconds),
    "revision": (pa.string(), lambda one: one.revision),
    "kafka_topic": (pa.string(), lambda one: one.record and one.record.topic),
    "kafka_partition": (pa.int64(), lambda one: one.record and one.record.partition),
    "kafka_offset": (pa.int64(), lambda one: one.record and one.record.offset),
    "kafka_key": (pa.binary(), lambda one: one.record and one.record.key),
}
_ABSENT: Final = dict.fromkeys(
    ("original", "value", "event"), "letters are chosen without reading their events; look at those with `penstock dlq show`"
)
_INTERNAL: Final = {name: f"__l{number}" for number, name in enumerate(_COLUMNS)}
_SCHEMA: Final = pa.schema([(_INTERNAL[name], kind) for name, (kind, _) in _COLUMNS.items()])


class Condition:
    """Compiled when it is asked first, and once. Belongs to one thread."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._opened: engine.Engine | None = None

    def check(self) -> None:
        """Raises ConditionError for an expression that can't be a condition."""
        self._compiled()

    def admits(self, letters: Sequence[deadletters.DeadLetter]) -> list[bool]:
        """Of which it is true; NULL is not. One call for many costs little more than for one. Raises ConditionError."""
        compiled = self._compiled()
        arrays = [pa.array(map(read, letters), kind) for kind, read in _COLUMNS.values()]
        try:
            found = compiled.run_numbers(_PREPARED, pa.Table.from_arrays(arrays, schema=_SCHEMA))
        except engine.QueryError as error:
            if len(letters) > 1:
                return [self.admits([letter])[0] for letter in letters]
            message = f"fails on the letter {letters[0].id}: {_in_our_words(error)}"
            raise ConditionError(self.sql, message, "leave such letters out, with CASE or TRY_CAST") from error
        return [bool(one) for one in found.tolist()]

    def _compiled(self) -> engine.Engine:
        if self._opened is None:
            made = engine.Engine(_SCHEMA)
            try:
                made.prepare(_PREPARED, engine.select([f"CAST({self._written(made)} AS UTINYINT) AS chosen"]))
            except scope.RefusedError as error:
                raise ConditionError(self.sql, error.message, error.remedy) from error
            except engine.QueryError as error:
                raise ConditionError(self.sql, f"can't run: {_in_our_words(error)}", "compare values of one type") from error
            self._opened = made
        return self._opened

    def _written(self, opened: engine.Engine) -> str:
        columns = {name: _column(_INTERNAL[name], kind) for name, (kind, _) in _COLUMNS.items()}
        parser = syntax.Parser(opened)
        internal = scope.Scope({name: scope.Column(node=scope.column_ref(name)) for name in _INTERNAL.values()})
        node = parser.read(self.sql, scope.Scope(columns, _ABSENT)).node
        kind = opened.type_of(parser.write(node, internal))
        if kind != "BOOLEAN":
            raise scope.RefusedError(f"is {kind}, not BOOLEAN", "compare it with something, such as error_code = 'Malformed'")
        return parser.write(logic.is_true(node), internal)


def _column(internal: str, kind: pa.DataType) -> scope.Column:
    return scope.Column(node=scope.column_ref(internal), type=kind)


def _in_our_words(error: engine.QueryError) -> str:
    names = {internal: name for name, internal in _INTERNAL.items()}
    return re.sub(r"\b__l\d+", lambda found: names.get(found[0], found[0]), str(error))
