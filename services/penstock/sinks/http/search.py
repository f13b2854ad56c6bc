"""Sending rows to a store that keeps what it has taken: refused stretches are halved until each row has its verdict.

Unlike the search in `sinks.offenders` nothing here can be tried and undone, so a part that is accepted has landed and is
never sent again. The budget of requests bounds one write and not the verdict: rows that are still open come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penstock.core import delivery, results
from penstock.sinks import port
from penstock.sinks.http import answers

Attempt = Callable[[delivery.Stretch], Awaitable[answers.Refusal | None]]


async def send(rows: int, attempt: Attempt, *, requests: int = 64) -> delivery.WriteResult:
    """What became of `rows` rows; they are sent in order, all at once first.

    `attempt` answers None when a stretch has landed. Its SinkError goes on to the caller only if nothing is settled yet:
    else the answer is what has been settled, and the error is met again with the rows that are left. Halving comes to a
    single row within 33 requests, so each call settles a row or raises.
    """
    waiting = [delivery.Stretch(0, rows)] if rows else []
    written: list[delivery.Stretch] = []
    rejected: list[results.RejectedRow] = []
    for _ in range(requests):
        if not waiting:
            break
        part = waiting.pop()
        try:
            refusal = await attempt(part)
        except port.SinkError:
            if not (written or rejected):
                raise
            break
        if refusal is None:
            written.append(part)
        elif len(part) == 1:
            rejected.append(_rejected(part.start, refusal))
        else:
            waiting.extend(reversed(_halves(part)))
    return _result(rows, written, rejected)


def _halves(part: delivery.Stretch) -> tuple[delivery.Stretch, delivery.Stretch]:
    middle = (part.start + part.end) // 2
    return delivery.Stretch(part.start, middle), delivery.Stretch(middle, part.end)


def _result(rows: int, written: list[delivery.Stretch], rejected: list[results.RejectedRow]) -> delivery.WriteResult:
    landed = sum(map(len, written))
    if landed == rows:
        return delivery.WriteResult(written=rows)
    return delivery.WriteResult(written=landed, written_rows=tuple(written), rejected=tuple(rejected))


def _rejected(row: int, refusal: answers.Refusal) -> results.RejectedRow:
    return results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code=refusal.code, message=refusal.message)
