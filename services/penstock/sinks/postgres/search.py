"""Which rows of a refused write the server refuses.

COPY says in which line it stopped, so the rest is tried from the line after it. What the INSERT refuses the server looks for
itself, over rows that were copied once: it inserts stretch by stretch, a shorter one where one is refused and a longer one
where one is not, so a row is judged beside those before it. Nothing of this stays.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import asyncpg

from penstock.core import results
from penstock.sinks import offenders
from penstock.sinks.postgres import binary, codes, statements

_MOST_REFUSALS = 200

Copy = Callable[[bytes], Awaitable[None]]


async def refused(
    connection: asyncpg.Connection,
    rows: binary.Tuples,
    plan: statements.Plan,
    *,
    copy: Copy,
    until: float,
) -> list[results.RejectedRow]:
    """The refused rows, or the first of them; empty when each part that was tried is accepted.

    `until`, in the loop's time, ends the search: what it has not found is found when the rest comes again.
    """
    work = connection.transaction(isolation="read_committed")
    await work.start()
    try:
        found = await _by_line(connection, rows, copy, until)
        if found:
            return found
        await copy(rows.stream())
        await connection.execute(statements.INDEX)
        return await _by_stretches(connection, rows.rows, plan.search, until)
    except asyncpg.PostgresError as error:
        if not codes.is_data(error):
            raise
        # COPY refuses, and does not say where.
        await work.rollback()
        work = connection.transaction(isolation="read_committed")
        await work.start()
        return await _by_copying(connection, rows, copy, until)
    finally:
        if not connection.is_closed():
            await work.rollback()


async def _by_line(connection: asyncpg.Connection, rows: binary.Tuples, copy: Copy, until: float) -> list[results.RejectedRow]:
    found: list[results.RejectedRow] = []
    start, clock = 0, asyncio.get_running_loop().time
    while start < rows.rows and len(found) < _MOST_REFUSALS and clock() < until:
        error = await _trial(connection, functools.partial(copy, rows.stream(start)))
        line = codes.refused_line(error) if error else None
        if error is None or line is None:
            break
        found.append(_rejected(start + line, error))
        start += line + 1
    return found


async def _by_stretches(connection: asyncpg.Connection, rows: int, search: str, until: float) -> list[results.RejectedRow]:
    await connection.execute(search)
    seconds = until - asyncio.get_running_loop().time()
    return [
        results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code=code, message=codes.line(code, said, detail))
        for at, code, said, detail in await connection.fetch(statements.SEARCH, rows, seconds, codes.DATA_PATTERNS)
    ]


async def _by_copying(connection: asyncpg.Connection, rows: binary.Tuples, copy: Copy, until: float) -> list[results.RejectedRow]:
    loop = asyncio.get_running_loop()
    code = ""

    async def tried(chosen: offenders.Rows) -> str | None:
        nonlocal code
        if loop.time() >= until:
            return None
        error = await _trial(connection, lambda: copy(rows.chosen(chosen)))
        code = error.sqlstate if error else code
        return codes.message(error) if error else None

    # The search is shared with stores that block; its thread waits here for each trial.
    found = await asyncio.to_thread(
        offenders.find, rows.rows, lambda chosen: asyncio.run_coroutine_threadsafe(tried(chosen), loop).result()
    )
    return [
        results.RejectedRow(row=row.row, result_class=row.result_class, code=code or row.code, message=row.message)
        for row in found
    ]


async def _trial(connection: asyncpg.Connection, work: Callable[[], Awaitable[None]]) -> asyncpg.PostgresError | None:
    """What the server has against `work`, which is undone; None when it accepts it. Raises what is no fault of the rows."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await work()
    except asyncpg.PostgresError as error:
        if not codes.is_data(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await savepoint.rollback()
    return None


def _rejected(row: int, error: asyncpg.PostgresError) -> results.RejectedRow:
    return results.RejectedRow(
        row=row, result_class=results.ResultClass.DATA, code=error.sqlstate or "", message=codes.message(error)
    )
