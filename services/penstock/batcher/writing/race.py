"""The same work begun a second time when it takes too long; the first good answer counts and ends the other.

Answers that are not good (a refusal, a failure) decide nothing while the other one may still have a good one: what it does
would be done although somebody was told otherwise.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ASK_SECONDS = 0.05
"""At least so long between two questions."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Generic[T]):
    """How it ended. `second`: the answer is that of the second; `overtaken`: the first had not ended by then."""

    value: T
    second: bool
    overtaken: bool


async def run(
    first: Coroutine[Any, Any, T],
    *,
    seconds: float,
    second: Callable[[], Coroutine[Any, Any, T] | None],
    good: Callable[[T], bool],
) -> Finish[T]:
    """Await `first`; after `seconds` (inf: never) ask for a `second`, and again after as long while there is none. Raises what
    the first has raised, when neither has a result. Whatever has not ended by the end is cancelled, and has ended."""
    tasks = [asyncio.ensure_future(first)]
    try:
        if not math.isinf(seconds) and (again := await _late(tasks[0], seconds, second)) is not None:
            tasks.append(asyncio.ensure_future(again))
        pending = {task for task in tasks if not task.done()}
        while not any(_has(task, good) for task in tasks) and pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        chosen = next((task for task in tasks if _has(task, good)), None) or _any_result(tasks)
        return Finish(value=chosen.result(), second=chosen is not tasks[0], overtaken=not tasks[0].done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _late(
    first: asyncio.Task[T], seconds: float, second: Callable[[], Coroutine[Any, Any, T] | None]
) -> Coroutine[Any, Any, T] | None:
    while True:
        await asyncio.wait([first], timeout=seconds)
        if first.done():
            return None
        if (again := second()) is not None:
            return again
        seconds = max(seconds, _ASK_SECONDS)


def _has(task: asyncio.Task[T], good: Callable[[T], bool]) -> bool:
    return _answered(task) and good(task.result())


def _answered(task: asyncio.Task[T]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _any_result(tasks: list[asyncio.Task[T]]) -> asyncio.Task[T]:
    return next((task for task in tasks if _answered(task)), tasks[0])
