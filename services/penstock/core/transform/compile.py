"""From a transform as it is written to a plan of queries, and everything that is wrong with it on the way.

Variables are put in where they are used, so each output is one expression over the block's columns and is worked out only
where it is needed. An output that only reads a column never passes through the engine. Everything is checked against the
declared schema, without data.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from penstock.core import errors
from penstock.core.transform import engine, growth, logic, names, scope, sources, spec, syntax

MAIN: Final = "main"
"""The prepared query that makes the rows."""
COUNT: Final = "counts"
"""The prepared query that only asks the predicates; its source of truth is not the rows."""

TAKEN: Final = "taken"
TABLE: Final = "routed"

FILTERED: Final = 1
OTHER_LANE: Final = 2
"""What COUNT says of a row that is not ours; 0 where it is."""

_MOST_TABLES = 1_024
_MOST_FROM_NOTHING = 64 << 20
_REFUSED: Final = scope.Column(node={}, refused=True)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One expression as it runs, the place it came from, and the variables inside it, outermost first."""

    path: str
    sql: str
    uses: tuple[str, ...] = ()
    wild: growth.Bound | None = dataclasses.field(default=None, compare=False)
    """What it can make of a row, where that is out of proportion to the row."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumn:
    """One output: read (`origin`), fixed (`literal`) or the computed column `computed` of the main query."""

    name: str
    route_only: bool
    field: pa.Field[Any]
    origin: scope.Origin | None = None
    literal: str | None = None
    computed: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that running needs. `engine_sources` are what the queries read, `steps` what can fail on a row, in order.

    `main_sql` is empty where nothing has to be computed, `count_sql` where nothing is filtered or left to other lanes.
    """

    explode: spec.Explode | None
    outputs: tuple[OutputColumn, ...]
    readable: Mapping[str, sources.Source]
    engine_sources: tuple[sources.Source, ...]
    input_columns: tuple[str, ...]
    dropped: Step | None
    steps: tuple[Step, ...]
    variables: Mapping[str, Step]
    main_sql: str
    count_sql: str
    has_when: bool
    has_table: bool

    @property
    def engine_schema(self) -> pa.Schema:
        """The table the engine is given."""
        fields = [pa.field(source.internal, source.engine_type) for source in self.engine_sources]
        return pa.schema([pa.field(sources.ROW, pa.int32()), *fields])


def check(told: spec.TransformSpec) -> list[errors.Problem]:
    """Everything wrong with a transform, each with its place and the way out; empty if it can run."""
    return _Compiler(told).result()[1]


def compile(told: spec.TransformSpec) -> Plan:  # noqa: A001 - the verb of this room
    """The plan of a transform. Raises errors.InvalidPipelineError with every problem."""
    plan, problems = _Compiler(told).result()
    if plan is None:
        raise errors.InvalidPipelineError(problems)
    return plan


class _Compiler:
    """One compilation; problems are gathered, so that a person sees all of them at once."""

    def __init__(self, told: spec.TransformSpec) -> None:
        self._told = told
        self._problems = names.problems(told)
        self._sources = sources.readable(told)
        fields = [pa.field(source.internal, source.engine_type) for source in self._sources.values()]
        self._engine = engine.Engine(pa.schema([pa.field(sources.ROW, pa.int32()), *fields]))
        self._parser = syntax.Parser(self._engine)
        self._internal = sources.internal_scope(self._sources)
        columns = {name: sources.as_column(source) for name, source in self._sources.items()}
        self._scope = scope.Scope(columns, sources.absent(told))
        self._outputs: dict[str, scope.Column] = {}
        self._variables: dict[str, Step] = {}

    def result(self) -> tuple[Plan | None, list[errors.Problem]]:
        try:
            plan = self._plan() if not self._problems else None
        finally:
            self._engine.close()
        return (None if self._problems else plan), self._problems

    def _plan(self) -> Plan:
        told = self._told
        self._add_variables()
        dropped = self._dropped()
        steps, outputs = self._select()
        taken, table = self._taken(), self._table()
        computed = [f"({step.sql}) AS {column.computed}" for step, column in zip(steps, _computed(outputs), strict=True)]
        computed += [f"({taken.sql}) AS {TAKEN}"] if taken else []
        computed += [f"({table.sql}) AS {TABLE}"] if table else []
        main = _main(computed, dropped)
        order = [step for step in (dropped, *steps, taken, table) if step]
        return Plan(
            explode=told.explode,
            outputs=self._typed(outputs, main),
            readable={source.internal: source for source in self._sources.values()},
            engine_sources=self._used_by([step.sql for step in order]),
            input_columns=self._inputs(order, outputs),
            dropped=dropped,
            steps=tuple(order),
            variables=self._variables,
            main_sql=main,
            count_sql=_counts(dropped, taken),
            has_when=taken is not None,
            has_table=table is not None,
        )

    def _add_variables(self) -> None:
        for variable in self._told.variables:
            read = self._read(variable, self._scope)
            if read is None:
                self._scope = self._scope.with_column(variable.name, _REFUSED)
                continue
            expression, step, _ = read
            self._variables[variable.name] = step
            self._scope = self._scope.with_column(variable.name, expression.column(variable.name))

    def _read(self, wanted: spec.Expression, known: scope.Scope) -> tuple[syntax.Expression, Step, str] | None:
        """Check, write and bind one expression; its type is the engine's name for it. None after a problem was noted."""
        try:
            expression = self._parser.read(wanted.sql, known)
            bound = self._bound(expression.node)
            sql = self._parser.write(expression.node, self._internal)
            kind = self._engine.type_of(sql)
        except scope.AlreadyRefusedError:
            return None
        except scope.RefusedError as error:
            self._problem(wanted, error.message, error.remedy)
        except engine.QueryError as error:
            self._problem(
                wanted, f"can't run: {sources.in_our_words(str(error), self._sources.values())}", "add the casts it needs"
            )
        else:
            wild = None if bound.tame else bound
            return expression, Step(path=wanted.path, sql=sql, uses=expression.uses, wild=wild), kind
        return None

    def _bound(self, node: engine.Node) -> growth.Bound:
        """Before the engine sees the expression: what is constant in it is worked out while a query is planned."""
        try:
            bound = growth.bound(node, self._internal.names())
        except growth.DoublingError as error:
            message = "lets the accumulator of list_reduce grow by a factor with every item"
            raise scope.RefusedError(message, "use the accumulator once, or make it a number") from error
        if bound.least > _MOST_FROM_NOTHING:
            found = f"{bound.least / 2**20:,.0f} MiB" if bound.least < 2**40 else "more than 1 TiB"
            message = f"makes {found} of a row that holds nothing; {_MOST_FROM_NOTHING >> 20} MiB at most"
            raise scope.RefusedError(message, "repeat or list less")
        return bound

    def _problem(self, at: spec.Expression, message: str, remedy: str = "") -> None:
        self._problems.append(errors.Problem(field=at.path, value=at.sql, message=message, remedy=remedy))

    def _predicate(
        self, wanted: spec.Expression | None, known: scope.Scope, judged: Callable[[engine.Node], engine.Node]
    ) -> Step | None:
        """A condition in the form `judged` gives it: never NULL, its parts tried from left to right."""
        read = self._read(wanted, known) if wanted else None
        if not wanted or not read:
            return None
        expression, step, kind = read
        if kind != "BOOLEAN":
            self._problem(wanted, f"is {kind}, where true or false is needed", "compare it with something")
        return dataclasses.replace(step, sql=self._parser.write(judged(expression.node), self._internal))

    def _dropped(self) -> Step | None:
        keeps_null = self._told.when_null is spec.WhenNull.KEEP
        return self._predicate(self._told.filter, self._scope, logic.is_false if keeps_null else _is_not_true)

    def _taken(self) -> Step | None:
        return self._predicate(self._told.when, scope.Scope(self._outputs), logic.is_true)

    def _select(self) -> tuple[list[Step], list[OutputColumn]]:
        steps: list[Step] = []
        outputs: list[OutputColumn] = []
        for number, output in enumerate(self._told.select if self._told.select is not None else self._everything()):
            step, column = self._output(number, output)
            steps += [step] if step else []
            outputs += [column] if column else []
        return steps, outputs

    def _everything(self) -> Iterator[spec.Output]:
        """Without `select`: the declared fields in their order; the item, then its index, in the exploded array's place."""
        exploded = self._told.explode
        for field in self._told.schema.fields:
            if not exploded or field.name != exploded.field:
                yield spec.Output(name=field.name)
                continue
            yield spec.Output(name=exploded.item)
            if exploded.index:
                yield spec.Output(name=exploded.index)

    def _output(self, number: int, output: spec.Output) -> tuple[Step | None, OutputColumn | None]:
        make = functools.partial(OutputColumn, name=output.name, route_only=output.route_only)
        if output.literal is not None:
            self._outputs[output.name] = scope.Column(node=scope.text_constant(output.literal), type=pa.string())
            return None, make(literal=output.literal, field=pa.field(output.name, pa.string()))
        path = f"spec.transform.select[{number}].name"
        wanted = output.value or spec.Expression(name=output.name, sql=f'"{output.name}"', path=path)
        read = self._read(wanted, scope.Scope(dict(self._outputs)) if output.derived else self._scope)
        if read is None:
            self._outputs[output.name] = _REFUSED
            return None, None
        expression, step, kind = read
        if expression.origin:
            field = self._read_field(output.name, expression.origin)
            self._outputs[output.name] = dataclasses.replace(expression.column(), type=field.type)
            return None, make(origin=expression.origin, field=field)
        self._outputs[output.name] = expression.column()
        step = self._writable(wanted, step, kind)
        return step, make(computed=f"o{number}", field=pa.field(output.name, pa.null()))

    def _typed(self, outputs: list[OutputColumn], main: str) -> tuple[OutputColumn, ...]:
        """The outputs with the types the engine gives to what it computes."""
        if self._problems or not main:
            return tuple(outputs)
        try:
            self._engine.prepare(MAIN, main)
            found = self._engine.result_schema(MAIN)
        except engine.QueryError as error:
            message = f"can't run: {sources.in_our_words(str(error), self._sources.values())}"
            self._problems.append(errors.Problem(field="spec.transform", value="", message=message))
            return tuple(outputs)
        return tuple(
            dataclasses.replace(output, field=found.field(output.computed).with_name(output.name)) if output.computed else output
            for output in outputs
        )

    def _read_field(self, name: str, origin: scope.Origin) -> pa.Field[Any]:
        field = next(source.field for source in self._sources.values() if source.internal == origin.source)
        for member in origin.members:
            field = field.type.field(member)
        return field.with_name(name)

    def _writable(self, wanted: spec.Expression, step: Step, kind: str) -> Step:
        if kind in ("HUGEINT", "UHUGEINT"):
            # What sums of integers give; no store has it. A sum beyond 64 bits is a failed row.
            return dataclasses.replace(step, sql=f"CAST(({step.sql}) AS BIGINT)")
        if remedy := names.unwritable(kind):
            self._problem(wanted, f"is {kind}, which can't be written", remedy)
        return step

    def _table(self) -> Step | None:
        told = self._told.table
        if told is None:
            return None
        if told.most_tables > _MOST_TABLES:
            message = f"could name {told.most_tables:,} tables; {_MOST_TABLES:,} at most"
            self._problems.append(
                errors.Problem(field=told.path, value=told.template, message=message, remedy="allow fewer values")
            )
            return None
        parts: list[str] = []
        values: list[str] = []
        uses: list[str] = []
        for index, piece in enumerate(told.pieces):
            if index % 2 == 0:
                parts.append(quoted(piece))
                continue
            column = self._template_column(told, piece)
            if column is None:
                continue
            values.append(f"CAST(({self._parser.write(column.node, self._internal)}) AS VARCHAR)")
            parts.append(values[-1])
            uses += column.uses
        allowed = ", ".join(quoted(value) for value in told.allowed) or "NULL"
        fits = " AND ".join(f"{value} IN ({allowed})" for value in values) or "true"
        sql = f"CASE WHEN {fits} THEN {' || '.join(parts)} ELSE {quoted(told.otherwise)} END"
        return Step(path=told.path, sql=sql, uses=tuple(dict.fromkeys(uses)))

    def _template_column(self, told: spec.TableTemplate, name: str) -> scope.Column | None:
        if name in self._outputs:
            return None if self._outputs[name].refused else self._outputs[name]
        remedy = f"columns here: {', '.join(self._outputs)}"
        message = f'unknown column "{name}"'
        self._problems.append(errors.Problem(field=told.path, value=told.template, message=message, remedy=remedy))
        return None

    def _used_by(self, queries: list[str]) -> tuple[sources.Source, ...]:
        spoken = {word for sql in queries for word in re.findall(r"\b__\w+", sql)}
        return tuple(source for source in self._sources.values() if source.internal in spoken)

    def _inputs(self, steps: list[Step], outputs: list[OutputColumn]) -> tuple[str, ...]:
        read = {output.origin.source for output in outputs if output.origin}
        read |= {source.internal for source in self._used_by([step.sql for step in steps])}
        used = [source.column for source in self._sources.values() if source.internal in read and source.column]
        return tuple(dict.fromkeys([*used, *([self._told.explode.field] if self._told.explode else [])]))


def _is_not_true(node: engine.Node) -> engine.Node:
    return scope.case([(logic.is_true(node), scope.truth(value=False))], scope.truth(value=True))


def _computed(outputs: list[OutputColumn]) -> Iterator[OutputColumn]:
    return (output for output in outputs if output.computed)


def _main(computed: list[str], dropped: Step | None) -> str:
    if not computed and not dropped:
        return ""
    return engine.select([sources.ROW, *computed], f"NOT ({dropped.sql})" if dropped else "")


def _counts(dropped: Step | None, taken: Step | None) -> str:
    if not dropped and not taken:
        return ""
    filtered = f"WHEN {dropped.sql} THEN {FILTERED}" if dropped else ""
    other = f"WHEN {taken.sql} THEN 0 ELSE {OTHER_LANE}" if taken else "ELSE 0"
    return engine.select([f"CAST(CASE {filtered} {other} END AS UTINYINT) AS why"])


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
