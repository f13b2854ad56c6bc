"""When blocks close, and what their requests are answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures

import pytest
from tests.unit.ingest import memory_log

from penstock.core import blocks as core_blocks
from penstock.core import schema as schemas
from penstock.ingest import blocks, instruments
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions
from penstock.log import port
from penstock.telemetry import metrics

_SCHEMA = schemas.Schema(fields=(schemas.Field(name="id", type=schemas.FieldType.STRING, required=True),))
_FOREVER = 3_600.0
_Make = Callable[..., blocks.BlockBuilder]


@pytest.fixture
def executor() -> Iterator[futures.Executor]:
    with futures.ThreadPoolExecutor(max_workers=1) as made:
        yield made


@pytest.fixture
async def make(executor: futures.Executor) -> AsyncIterator[_Make]:
    built: list[blocks.BlockBuilder] = []

    def _make(log: memory_log.MemoryLog, **settings: object) -> blocks.BlockBuilder:
        told = {"namespace": "n", "pipeline": "p", "schema": _SCHEMA, "linger_seconds": _FOREVER} | settings
        measured = instruments.Instruments("n", "p")
        builder = blocks.BlockBuilder(
            ingest_settings.IngestSettings(**told),
            log,
            executor,
            measured,
            lambda: "producer",  # type: ignore[arg-type]
        )
        built.append(builder)
        return builder

    yield _make
    for builder in built:
        await builder.drain()


def _request(*ids: str) -> submissions.Submission:
    documents = [b'{"id":"%s"}' % name.encode() for name in ids]
    return submissions.Submission(
        encoding=submissions.Encoding.DOCUMENTS, payload=documents, door="test", received_at_microseconds=0
    )


def _ids(log: memory_log.MemoryLog, partition: int = 0) -> list[list[str]]:
    read = [core_blocks.decode(record.value, record.headers, columns=["id"]) for record in log.records[partition]]
    return [batch.column("id").to_pylist() for batch in read]


def _closes(reason: str) -> float:
    return metrics.BLOCK_CLOSES.labels(pipeline="p", namespace="n", reason=reason)._value.get()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the state of a builder, which tells nobody
            await asyncio.sleep(0)


async def test_a_lone_caller_is_served_at_once_again_and_again(make: _Make) -> None:
    """Catches a linger that a caller who waits for each answer pays in full; it would wait an hour here."""
    log = memory_log.MemoryLog()
    builder = make(log)
    before = _closes("idle")
    for name in ("a", "b", "c"):
        assert (await builder.add(_request(name))).accepted == 1
    assert _closes("idle") - before == 3
    assert _ids(log) == [["a"], ["b"], ["c"]]


async def test_requests_of_one_moment_share_a_block(make: _Make) -> None:
    """Catches an idle close so eager that concurrent callers get a block each."""
    log = memory_log.MemoryLog()
    builder = make(log)
    await asyncio.gather(*(builder.add(_request(name)) for name in "abc"))
    assert _ids(log) == [["a", "b", "c"]]


@pytest.mark.parametrize(("limits", "reason"), [({"block_rows": 4}, "rows"), ({"block_bytes": 40}, "bytes")])
async def test_what_comes_while_a_block_is_under_way_is_gathered_up_to_the_bound(
    make: _Make, limits: dict[str, int], reason: str
) -> None:
    """Catches a bound that is not looked at, and blocks of one request under load."""
    log = memory_log.MemoryLog()
    log.gate = asyncio.Event()
    builder = make(log, **limits)
    first = builder.add(_request("a"))
    await log.stored.wait()
    before = _closes(reason)
    rest = [builder.add(_request(name)) for name in "bcde"]
    assert _closes(reason) - before == 1
    log.gate.set()
    await asyncio.gather(first, *rest)
    assert _ids(log) == [["a"], ["b", "c", "d", "e"]]


async def test_the_linger_closes_what_nothing_else_does(make: _Make) -> None:
    """Catches a timer that is never set while a block is under way."""
    log = memory_log.MemoryLog(partitions=2)
    log.gate = asyncio.Event()
    builder = make(log, linger_seconds=0.001)
    before = _closes("linger")
    first = builder.add(_request("a"))
    await log.stored.wait()
    log.stored.clear()
    second = builder.add(_request("b"))
    await log.stored.wait()
    assert _closes("linger") - before == 1
    log.gate.set()
    await asyncio.gather(first, second)


async def test_a_block_goes_on_gathering_while_another_is_being_composed(make: _Make, executor: futures.Executor) -> None:
    """Catches lingers that queue small blocks behind a busy thread, and a block that nobody closes when it is free again."""
    log, gate = memory_log.MemoryLog(), threading.Event()
    builder = make(log, linger_seconds=0.001)
    executor.submit(gate.wait)
    try:
        answers = [builder.add(_request("a"))]
        await _until(lambda: builder._composing > 0)
        answers.append(builder.add(_request("b")))
        await _until(lambda: builder._overdue)
        answers.append(builder.add(_request("c")))
    finally:
        gate.set()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*answers)
    assert [outcome.accepted for outcome in outcomes] == [1, 1, 1]
    assert _ids(log) == [["a"], ["b", "c"]]


async def test_no_answer_before_all_of_a_requests_blocks_are_durable(make: _Make) -> None:
    """Catches an acknowledgement on the first of several blocks, or on hand-over to the log."""
    log = memory_log.MemoryLog()
    log.gate = asyncio.Event()
    builder = make(log, block_rows=2)
    answer = builder.add(_request("a", "b", "c"))
    await log.stored.wait()
    await asyncio.sleep(0)
    assert not answer.done()
    log.gate.set()
    assert (await answer).accepted == 3
    assert _ids(log) == [["a", "b"], ["c"]]


async def test_a_request_is_refused_as_full_only_if_none_of_it_was_written(make: _Make) -> None:
    """Catches 'nothing was written' said of a request half of which is durable."""
    log = memory_log.MemoryLog()
    log.fail = lambda number, record: port.LogFullError("at maxBytes") if log.records[0] else None
    builder = make(log, block_rows=2)
    half = await builder.add(_request("a", "b", "c"))
    none = await builder.add(_request("d"))
    assert half.refusal is not None
    assert none.refusal is not None
    assert half.refusal.reason is submissions.RefusalReason.UNKNOWN_OUTCOME
    assert none.refusal.reason is submissions.RefusalReason.OVERLOADED
    assert "at maxBytes" in none.refusal.message


async def test_a_log_that_does_not_answer_leaves_the_outcome_unknown(make: _Make) -> None:
    """Catches a caller that waits for ever, and a time-out called a failure."""
    log = memory_log.MemoryLog()
    log.fail = lambda number, record: "silent"
    outcome = await make(log, append_timeout_seconds=0.01).add(_request("a"))
    assert outcome.refusal is not None
    assert outcome.refusal.reason is submissions.RefusalReason.UNKNOWN_OUTCOME
    assert outcome.refusal.retry_after_seconds > 0


async def test_blocks_without_a_key_take_the_partitions_in_turn(make: _Make) -> None:
    """Catches one partition that gets everything."""
    log = memory_log.MemoryLog(partitions=2)
    builder = make(log)
    for name in "abcd":
        await builder.add(_request(name))
    assert (_ids(log, 0), _ids(log, 1)) == ([["a"], ["c"]], [["b"], ["d"]])


async def test_drain_answers_what_waits(make: _Make) -> None:
    """Catches a drain that leaves the open block to its linger."""
    log = memory_log.MemoryLog()
    log.gate = asyncio.Event()
    builder = make(log)
    answers = [builder.add(_request("a"))]
    await log.stored.wait()
    answers.append(builder.add(_request("b")))
    log.gate.set()
    await builder.drain()
    assert [answer.result().accepted for answer in answers] == [1, 1]
