"""kill -9 at each named point under load, and at each step of a replay."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import duckdb
import grpc

from e2e.chaos import events, site, stage
from e2e.checker import verdict
from penstock.cli import control, exits
from penstock.core import failpoints
from penstock.v1 import control_pb2

_DEATH_SECONDS = 40.0
_LIVES = 4
_RARE = frozenset({"log.offsets", "lane.committing", "lane.committed", "lane.lettered"})
"""Reached a few times a second."""
_LETTERS_AT_ONCE = 4
_ELSEWHERE = ("replay.", "clickhouse.", "postgres.", "kafka.", "lane.planned")
"""Points that DuckDB, Files and a load without replays never come to."""


def order(point: str, times: int) -> str:
    """What makes a process die at this point; a batch is only halved where the store says what no rule knows."""
    if point == "lane.bisecting":
        return f"duckdb.inserted=raise@{times + 2}-;lane.bisecting=kill"
    return f"{point}=kill@{times}"


def times_of(point: str, chosen: int) -> int:
    """Which time: at each start a journal is rewritten once."""
    if point == "files.folded":
        return 1
    return 1 + chosen % (3 if point in _RARE else 10)


def die_at(here: site.Site, told: stage.Stage, point: str) -> float:
    """One life that ends at the point; when it ended. What is committed then is there."""
    for _ in range(_LIVES):
        process = here.spawn(order(point, times_of(point, told.random.randrange(30))))
        if process.wait(_DEATH_SECONDS / _LIVES) is not None:
            break
        # A batch of one row is never halved, and none comes after it while its store fails: another life, another batch.
        here.process.kill()  # type: ignore[union-attr]
    else:
        raise site.StuckError(f"{point} was not reached:\n{here.pipeline.log_tail()}")
    if process.code != -9:
        raise site.StuckError(f"it ended with {process.code} before {point}:\n{here.pipeline.log_tail()}")
    died = time.monotonic()
    told.times += 1
    here.sample()
    return died


def killed_at(points: list[str]) -> stage.Perform:
    """A life for each point and kill, all on one data directory, under load; then one that finishes."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        with told.site() as here:
            here.start()
            here.load()
            here.go_on(50)
            here.process.kill()  # type: ignore[union-attr]
            for point in points:
                for kill in range(told.scale.kills):
                    died = die_at(here, told, point)
                    if len(points) == 1 and kill % 5 == 4:
                        _live(here, died, told)
            _live(here, died, told, end=False)
            return here.judge()

    return perform


def _live(here: site.Site, died: float, told: stage.Stage, *, end: bool = True) -> None:
    """A life in which nothing is armed, until all lanes land; it is killed too, wherever it is."""
    here.start()
    here.recovered(died)
    if end:
        here.process.kill()  # type: ignore[union-attr]
        told.times += 1
        here.sample()


def killed_in_replay(told: stage.Stage) -> verdict.Verdict:
    """Letters of rows that the warehouse refused are replayed once it takes them, and the process dies in between."""
    told.how = "letters of refused rows replayed under load, the process killed after publishing and after marking"
    with told.site() as here:
        here.ordered, here.expectation = False, events.mended
        here.start()
        here.load(regionless=0.1, pause=0.01)
        wanted = _LETTERS_AT_ONCE * (2 * told.scale.kills + 4)
        here.until(lambda: _refused(here) >= wanted or None)
        here.unload()
        here.settled()
        here.stop()
        with contextlib.closing(duckdb.connect(str(here.store_path / "orders.duckdb"))) as connection:
            connection.execute(f"ALTER TABLE {events.TABLE} ALTER COLUMN region DROP NOT NULL")
        here.load(2, regionless=0.0)
        for point in ["replay.published", "replay.marked"] * told.scale.kills:
            here.start(f"{point}=kill@1")
            _replay(here, _LETTERS_AT_ONCE)
            if here.process.wait(_DEATH_SECONDS) != -9:  # type: ignore[union-attr]
                raise site.StuckError(f"{point} was not reached:\n{here.pipeline.log_tail()}")
            told.times += 1
            here.sample()
        died = time.monotonic()
        here.start()
        here.recovered(died)
        for _ in range(2):  # The second finds nothing to do.
            _replay(here, 1_000)
        return here.judge()


def _refused(here: site.Site) -> int:
    status = here.pipeline.status()
    return sum(lane.ledger.rows_dead_lettered for lane in status.lanes if lane.sink == events.WAREHOUSE) if status else 0


def _replay(here: site.Site, at_once: int) -> list[control_pb2.ReplayProgress]:
    """Replay as `penstock dlq replay` does; what was heard before the end, or the death."""
    letters = control_pb2.LetterSelection(categories=["SinkRejected"], sinks=[events.WAREHOUSE])
    request = control_pb2.ReplayRequest(letters=letters, events_per_second=at_once, reason="mended", wait_seconds=20.0)
    heard: list[control_pb2.ReplayProgress] = []
    gone = contextlib.suppress(control.NotRunningError, exits.Unreachable, grpc.RpcError)
    with gone, control.connected(here.pipeline.data) as stub:
        heard.extend(_all(stub.Replay(request, timeout=site.PATIENCE_SECONDS)))
    return heard


def _all(stream: Iterator[control_pb2.ReplayProgress]) -> Iterator[control_pb2.ReplayProgress]:
    with contextlib.suppress(grpc.RpcError):
        yield from stream


def _reached() -> list[str]:
    return [point for point in failpoints.POINTS if not point.startswith(_ELSEWHERE)]


def each() -> list[stage.Fault]:
    """One fault per named point."""
    return [stage.Fault(name=f"kill -9 at {point}", perform=killed_at([point])) for point in _reached()] + [IN_REPLAY]


def together() -> list[stage.Fault]:
    """All named points on one data directory, one after the other."""
    return [stage.Fault(name="kill -9 at each point in turn", perform=killed_at(_reached())), IN_REPLAY]


IN_REPLAY = stage.Fault(name="kill -9 in a replay", perform=killed_in_replay)
