"""Running the queries of a plan, and finding the rows that make them fail, so that all others land.

When a call fails on data, one more query asks every row, inside TRY, which of its expressions fails; what is left runs again
without those rows. Where that does not help (too slow, too large, a fault of the engine) the rows are halved until the ones
that fail stand alone. Only a row that fails alone is ever given up. With f failing rows among n that is at most 3 + f·(2 +
variables) short calls in the first way, and 2·f·log2(n) + 1 calls in the second, each no longer than the time limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core.transform import compile as compiler
from penstock.core.transform import engine, growth, sources

MOST_MESSAGES = 200
"""Failing rows of one call that are run alone for a message of their own; further ones get their expression's first."""

_MOST_CALLS = 4
"""So many times what one query may make, all queries of a call may make together."""
_BLAME = "blame"
_SOMEWHERE = "spec.transform"
"""The place of a failure that none of the expressions has by itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the queries say of some rows: the main query's result, and `why` (FILTERED, OTHER_LANE, 0) for each row asked."""

    result: pa.Table
    asked: npt.NDArray[np.int32]
    why: npt.NDArray[np.uint8] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailedRow:
    """A row that fails alone: its index, the place of the expression in the pipeline, the engine's words."""

    row: int
    path: str
    message: str


class Queries:
    """A plan's prepared queries on one engine; a second one, opened at the first failure, finds the expression at fault."""

    def __init__(self, plan: compiler.Plan, *, memory_limit_bytes: int, made_limit_bytes: int, time_limit_seconds: float) -> None:
        """`made_limit_bytes`: what expressions that multiply may make of one row, and of all rows in one query."""
        self._plan = plan
        self._memory_limit_bytes, self._time_limit_seconds = memory_limit_bytes, time_limit_seconds
        self._made_limit_bytes = made_limit_bytes
        self._engine = self._open(share_work=True)
        self._engine.prepare(compiler.MAIN, plan.main_sql)
        if plan.count_sql:
            self._engine.prepare(compiler.COUNT, plan.count_sql)
        self._wild = [step for step in plan.steps if step.wild]
        self._critic: engine.Engine | None = None
        self._suspects = {step: f"suspect{at}" for at, step in enumerate([*plan.variables.values(), *plan.steps])}

    def _open(self, *, share_work: bool) -> engine.Engine:
        return engine.Engine(
            self._plan.engine_schema,
            memory_limit_bytes=self._memory_limit_bytes,
            time_limit_seconds=self._time_limit_seconds,
            share_work=share_work,
        )

    def close(self) -> None:
        self._engine.close()
        if self._critic:
            self._critic.close()

    def run(self, table: pa.Table) -> tuple[list[Answer], list[FailedRow]]:
        """Answers that together cover every row but the failed ones; no two speak of one row."""
        return self._bounded(table) if self._wild and len(table) else self._run(table)

    @property
    def is_wild(self) -> bool:
        """Whether some expression multiplies."""
        return bool(self._wild)

    def made_at_most(self, table: pa.Table) -> growth.Bytes:
        """What such expressions may make of each row."""
        return np.asarray(np.sum(self._bounds(table), axis=0))

    def _bounds(self, table: pa.Table) -> list[growth.Bytes]:
        known = growth.extents(table)
        return [step.wild.of(known) for step in self._wild if step.wild]

    def _bounded(self, table: pa.Table) -> tuple[list[Answer], list[FailedRow]]:
        """Expressions that multiply, on no more rows at once than memory allows, and not on rows that are too much alone."""
        bounds = self._bounds(table)
        worst = np.argmax(bounds, axis=0)
        size = np.sum(bounds, axis=0)
        fits = size <= self._made_limit_bytes
        failed = [self._oversized(table, row, self._wild[worst[row]], size[row]) for row in np.flatnonzero(~fits).tolist()]
        answers: list[Answer] = []
        left = _MOST_CALLS * self._made_limit_bytes
        for part in _parts(np.flatnonzero(fits), size, self._made_limit_bytes):
            if left < 0:
                failed += [self._left_over(table, row, self._wild[worst[row]]) for row in part.tolist()]
                continue
            more, worse = self._run(table.slice(part[0], len(part)) if part[-1] - part[0] == len(part) - 1 else table.take(part))
            answers, failed = answers + more, failed + worse
            left -= sum(answer.result.nbytes for answer in more)
        return answers, failed

    def _left_over(self, table: pa.Table, row: int, step: compiler.Step) -> FailedRow:
        """Only ever of one event with many rows: calls for several events are cut before (batcher.reading.prepare)."""
        limit = _MOST_CALLS * self._made_limit_bytes >> 20
        message = f"the rows before this one were made into more than {limit:,} MiB already; replayed, it can be made alone"
        return FailedRow(row=int(table.column(sources.ROW)[row].as_py()), path=step.path, message=message)

    def _oversized(self, table: pa.Table, row: int, step: compiler.Step, size: float) -> FailedRow:
        limit = self._made_limit_bytes >> 20
        found = f"{size / 2**20:,.0f} MiB" if size < 2**40 else "more than 1 TiB"
        message = f"could make {found} of this row, more than the {limit:,} MiB that a row may take"
        return FailedRow(row=int(table.column(sources.ROW)[row].as_py()), path=step.path, message=message)

    def _run(self, table: pa.Table) -> tuple[list[Answer], list[FailedRow]]:
        try:
            return [self._ask(table)], []
        except engine.DataError as error:
            return self._without_the_guilty(table, error)
        except engine.LimitError as error:
            return self._halved(table, error)

    def _ask(self, table: pa.Table) -> Answer:
        result = self._engine.run(compiler.MAIN, table)
        why = self._engine.run_numbers(compiler.COUNT, table) if self._plan.count_sql else None
        return Answer(result=result, asked=table.column(sources.ROW).to_numpy(), why=why)

    def _without_the_guilty(self, table: pa.Table, failure: engine.QueryError) -> tuple[list[Answer], list[FailedRow]]:
        try:
            guilty = self._blame(table)
        except engine.QueryError:
            return self._halved(table, failure)
        innocent = table.filter(pa.array(guilty < 0))
        if len(innocent) == len(table):
            return self._halved(table, failure)
        answers, failed = self._without_blame(innocent)
        more, condemned = self._heard(table, guilty)
        return answers + more, failed + condemned

    def _without_blame(self, table: pa.Table) -> tuple[list[Answer], list[FailedRow]]:
        try:
            return [self._ask(table)], []
        except engine.QueryError as error:
            return self._halved(table, error)

    def _heard(self, table: pa.Table, guilty: npt.NDArray[np.int64]) -> tuple[list[Answer], list[FailedRow]]:
        """Each blamed row by itself, for its message; one that does not fail alone is answered like any other."""
        answers: list[Answer] = []
        failed: list[FailedRow] = []
        first: dict[int, FailedRow] = {}
        for count, place in enumerate(np.flatnonzero(guilty >= 0).tolist()):
            step = int(guilty[place])
            if count >= MOST_MESSAGES and step in first:
                row = int(table.column(sources.ROW)[place].as_py())
                failed.append(dataclasses.replace(first[step], row=row))
                continue
            heard = self._accused(table.slice(place, 1), step)
            if isinstance(heard, Answer):
                answers.append(heard)
                continue
            failed.append(heard)
            first.setdefault(step, heard)
        return answers, failed

    def _halved(self, table: pa.Table, failure: engine.QueryError) -> tuple[list[Answer], list[FailedRow]]:
        if len(table) == 1:
            return [], [self._failed(table, *(self._fault(table, self._plan.steps) or (_SOMEWHERE, str(failure))))]
        middle = len(table) // 2
        answers, failed = self._run(table.slice(0, middle))
        more, worse = self._run(table.slice(middle))
        return answers + more, failed + worse

    def _accused(self, row: pa.Table, step: int) -> Answer | FailedRow:
        if found := self._fault(row, [self._plan.steps[step]]):
            return self._failed(row, *found)
        try:
            return self._ask(row)
        except engine.QueryError as error:
            return self._failed(row, _SOMEWHERE, str(error))

    def _failed(self, row: pa.Table, path: str, message: str) -> FailedRow:
        words = sources.in_our_words(message, self._plan.engine_sources)
        return FailedRow(row=int(row.column(sources.ROW)[0].as_py()), path=path, message=words)

    def _fault(self, row: pa.Table, suspects: Sequence[compiler.Step]) -> tuple[str, str] | None:
        """The place and the words of the first expression that fails on this row, or of the variable inside it that does."""
        for step in suspects:
            if message := self._complaint(row, step):
                inner = [self._plan.variables[name] for name in self._plan.variables if name in step.uses]
                told = ((cause.path, said) for cause in inner if (said := self._complaint(row, cause)))
                return next(told, (step.path, message))
        return None

    def _complaint(self, row: pa.Table, step: compiler.Step) -> str:
        try:
            self._judge().run(self._suspects[step], row)
        except engine.QueryError as error:
            return str(error)
        return ""

    def _blame(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """For each row the number of the first step that fails on it, or -1."""
        return np.asarray(self._judge().run_numbers(_BLAME, table), dtype=np.int64)

    def _judge(self) -> engine.Engine:
        if self._critic is None:
            self._critic = self._open(share_work=False)
            self._critic.prepare(_BLAME, blame_sql(self._plan))
            for step, name in self._suspects.items():
                self._critic.prepare(name, engine.select([f"({step.sql}) AS suspect"]))
        return self._critic


def _parts(rows: npt.NDArray[np.int64], size: npt.NDArray[np.float64], most: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows in their order, in parts whose sizes add up to at most so much; a single row may be larger."""
    total, start = np.cumsum(size[rows]), 0
    while start < len(rows):
        before = total[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(total, before + most, side="right")))
        yield rows[start:stop]
        start = stop


def blame_sql(plan: compiler.Plan) -> str:
    """The query that asks each row which step fails on it; a row the filter drops is asked nothing more."""
    cases = " ".join(_cases(plan))
    return engine.select([f"CASE {cases} ELSE -1 END AS step"])


def _cases(plan: compiler.Plan) -> Iterator[str]:
    for number, step in enumerate(plan.steps):
        # A struct is never NULL itself, so TRY gives NULL exactly when the expression inside fails.
        yield f"WHEN TRY(struct_pack(value := ({step.sql}))) IS NULL THEN {number}"
        if step is plan.dropped:
            yield f"WHEN {step.sql} THEN -1"
