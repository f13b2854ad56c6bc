"""One lane's transform at run time: a group of events in, their rows out, with counts that prove nothing vanished.

Explode, filter and select happen to columns, never to single events. What an output only reads is taken from the group
itself; the engine works out the rest. One instance per worker thread: it holds the engine's connection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.transform import compile as compiler
from penstock.core.transform import engine, explode, isolate, scope, sources, spec, weight

Index = npt.NDArray[np.int32]

_ENDLESS_BYTES = 2.0**40
"""More than any call may make; small enough to be added up."""


class Transform:
    """A compiled transform. Raises errors.InvalidPipelineError on one that can't run."""

    def __init__(
        self,
        told: spec.TransformSpec,
        *,
        memory_limit_bytes: int = engine.DEFAULT_MEMORY_BYTES,
        time_limit_seconds: float = engine.DEFAULT_SECONDS,
        made_limit_bytes: int | None = None,
        clock: Callable[[], float] = float,
    ) -> None:
        """`made_limit_bytes`: what expressions that multiply may make of one row; unless told, all of the memory. `clock` tells
        seconds, by which `explode_seconds` is measured."""
        self._clock = clock
        self.explode_seconds = 0.0
        """What making rows of events has taken, before the query sees them."""
        self._plan = compiler.compile(told)
        self._written = [output for output in self._plan.outputs if not output.route_only]
        self._repeated = weight.repeated_columns(self._plan)
        self._queries = (
            isolate.Queries(
                self._plan,
                memory_limit_bytes=memory_limit_bytes,
                made_limit_bytes=memory_limit_bytes if made_limit_bytes is None else made_limit_bytes,
                time_limit_seconds=time_limit_seconds,
            )
            if self._plan.main_sql
            else None
        )

    @property
    def output_schema(self) -> pa.Schema:
        """The columns that are written: without hidden and route-only ones."""
        return pa.schema([output.field for output in self._written])

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The block columns `run` needs, `_original` and `_received_at` among them if expressions use them."""
        return self._plan.input_columns

    def repeated_bytes(self, events: pa.RecordBatch) -> weight.Bytes:
        """Bytes of each event that every one of its rows repeats; 0 where nothing is exploded."""
        none = np.zeros(events.num_rows, np.int64)
        return sum((weight.value_bytes(events.column(name)) for name in self._repeated), none)

    def growth_bytes(self, events: pa.Table) -> weight.Bytes | None:
        """What the rows of each event may grow to in expressions that multiply; None where there are none of those."""
        if self._queries is None or not self._queries.is_wild:
            return None
        group = _Group(self._plan, events, None)
        grown = np.bincount(group.rows.event, self._queries.made_at_most(group.engine_table()), minlength=len(events))
        return np.minimum(grown, _ENDLESS_BYTES).astype(np.int64)

    def close(self) -> None:
        """Give the engine's memory back; nothing may be called afterwards."""
        if self._queries:
            self._queries.close()

    def run(self, events: pa.Table, items: Sequence[Sequence[int]] | None = None) -> spec.Transformed:
        """The rows of a group of events: `input_columns` and EVENT_COLUMN (0, 1, 2 …), in as many chunks as there are blocks.

        With `items`, of each event only the rows of the items it names, which keep their numbers; none named means all.
        """
        began = self._clock()
        group = _Group(self._plan, events, items)
        table = group.engine_table() if self._queries else None
        self.explode_seconds += self._clock() - began
        answers, failed = self._queries.run(table) if self._queries else ([], [])
        chosen = _Chosen.of(answers, group.count, self._plan) if self._queries else _Chosen(rows=None, result=None)
        return spec.Transformed(
            rows=self._table(group, chosen),
            made=group.rows.made,
            filtered=group.per_event(_asked(answers, compiler.FILTERED)),
            other_lanes=group.per_event(_asked(answers, compiler.OTHER_LANE)),
            failures=tuple(group.failure(row) for row in sorted(failed, key=lambda one: one.row)),
        )

    def _table(self, group: _Group, chosen: _Chosen) -> pa.Table:
        event, item = group.rows.event, group.rows.item
        if chosen.rows is not None:
            event, item = event[chosen.rows], item[chosen.rows]
        columns: dict[str, explode.Array | explode.Chunks] = {
            spec.EVENT_COLUMN: pa.array(event),
            spec.ITEM_COLUMN: pa.array(item),
        }
        fields: list[pa.Field[Any]] = [pa.field(name, pa.int32()) for name in columns]
        if self._plan.has_table:
            columns[spec.TABLE_COLUMN] = chosen.column(compiler.TABLE, pa.string())
            fields.append(pa.field(spec.TABLE_COLUMN, pa.string()))
        taken = pa.array(event)
        for output in self._written:
            columns[output.name] = self._column(output, group, chosen, taken)
        return pa.Table.from_arrays(list(columns.values()), schema=pa.schema([*fields, *self.output_schema]))

    def _column(
        self, output: compiler.OutputColumn, group: _Group, chosen: _Chosen, event: explode.Array
    ) -> explode.Array | explode.Chunks:
        if output.literal is not None:
            return pa.repeat(pa.scalar(output.literal, pa.string()), len(event))
        if output.origin:
            return group.read(output.origin, chosen.rows, event)
        return chosen.column(output.computed or "", output.field.type)


class _Group:
    """A group of events and the rows they make before the query."""

    def __init__(self, plan: compiler.Plan, events: pa.Table, items: Sequence[Sequence[int]] | None) -> None:
        self._plan = plan
        self._events = _conformed(events, plan)
        rows = self._exploded(len(events))
        self.rows = rows if items is None else explode.only(rows, items)
        self.count = len(self.rows.event)

    def _exploded(self, events: int) -> explode.Rows:
        told = self._plan.explode
        if not told:
            return explode.one_each(events)
        return explode.explode(explode.in_one_piece(self._events.column(told.field)), told.when_empty)

    def engine_table(self) -> pa.Table:
        """The rows with the columns the queries read, under the engine's names."""
        parents = pa.array(self.rows.event)
        columns = [self._source(source, parents) for source in self._plan.engine_sources]
        rows = pa.array(np.arange(self.count, dtype=np.int32))
        return pa.Table.from_arrays([rows, *columns], schema=self._plan.engine_schema)

    def _source(self, source: sources.Source, parents: explode.Array) -> explode.Array | explode.Chunks:
        if source.role is sources.Role.EVENT:
            column = self._events.column(source.column)
            return explode.carry(explode.in_one_piece(column), parents) if self._plan.explode else column
        return self._of_item(source)

    def _of_item(self, source: sources.Source) -> explode.Array:
        values = self.rows.items if source.role is sources.Role.ITEM else self.rows.index
        if values is None:
            raise LookupError(f"{source.field.name} is read, but nothing was exploded")
        return values

    def read(self, origin: scope.Origin, rows: Index | None, event: explode.Array) -> explode.Array | explode.Chunks:
        """The values of a source for some rows (None: all of them); `event` has the index of each row's event."""
        source = self._plan.readable[origin.source]
        if source.role is sources.Role.EVENT:
            column = _member(explode.in_one_piece(self._events.column(source.column)), origin.members)
            return column if not self._plan.explode and rows is None else column.take(event)
        values = _member(self._of_item(source), origin.members)
        return values if rows is None else values.take(rows)

    def per_event(self, rows: Index) -> spec.Counts:
        """How many of some rows each event has."""
        return np.bincount(self.rows.event[rows], minlength=len(self.rows.made)).astype(np.int64)

    def failure(self, failed: isolate.FailedRow) -> spec.RowFailure:
        """A failed row by its event and item."""
        return spec.RowFailure(
            event=int(self.rows.event[failed.row]),
            item=int(self.rows.item[failed.row]),
            expression=failed.path,
            message=failed.message,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The rows that go on, in order, and what was computed for them. `rows` None: all of the group's."""

    rows: Index | None
    result: pa.Table | None

    @classmethod
    def of(cls, answers: Sequence[isolate.Answer], count: int, plan: compiler.Plan) -> _Chosen:
        """What the answers keep of `count` rows, put back into order."""
        if not answers:
            return cls(rows=np.zeros(0, dtype=np.int32), result=None)
        result = pa.concat_tables([answer.result for answer in answers])
        if plan.has_when:
            result = result.filter(result.column(compiler.TAKEN))
        rows = result.column(sources.ROW).to_numpy()
        if len(answers) > 1 and np.any(np.diff(rows) < 0):
            order = np.argsort(rows)
            result, rows = result.take(order), rows[order]
        return cls(rows=None if len(rows) == count else rows, result=result)

    def column(self, name: str, kind: pa.DataType) -> explode.Array | explode.Chunks:
        return self.result.column(name) if self.result is not None else pa.array([], kind)


def _asked(answers: Sequence[isolate.Answer], why: int) -> Index:
    """The rows of which the counting query says this."""
    found = [answer.asked[answer.why == why] for answer in answers if answer.why is not None]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)


def _member(column: explode.Array, members: Sequence[str]) -> explode.Array:
    return pc.struct_field(column, list(members)) if members else column


def _conformed(events: pa.Table, plan: compiler.Plan) -> pa.Table:
    """The group's columns in the types the plan was made for."""
    fields = {source.column: source.field.type for source in plan.readable.values() if source.role is sources.Role.EVENT}
    schema = pa.schema([pa.field(name, fields[name]) for name in plan.input_columns])
    table = events.select(schema.names)
    return table if table.schema.equals(schema) else table.cast(schema)
