"""`python -m benchmarks.hedging`: what a second write buys against stragglers, and what it costs in a brown-out.

Three real sink servers over one pretended store, and the batcher's own client. A write holds one of the store's places for as
long as it takes, so what is sent twice is in the others' way, as in a real one. Latencies are of the wall clock: nearly all of
each is a timer of the store's, and the machine is mostly idle. Beside it the naive way: a second write after a fixed time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np
import pyarrow as pa
import rich.console
import rich.table

from benchmarks import machine
from penstock.batcher.writing import race, sink_client
from penstock.core import addresses, delivery, hedging
from penstock.sinks import server, tables

_USUAL_SECONDS = 0.02
_SPREAD = 0.2
_PER_SECOND = 40.0
_PLACES = 8
_SLOTS = 16
_ROWS = pa.table({"id": np.arange(500), "amount": np.random.default_rng(1).random(500)})
_NAIVE_SECONDS = 3 * _USUAL_SECONDS
_DEADLINE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the store does: `stragglers` of its writes take twenty times as long, and all of them `slower` times from the
    middle of the run on."""

    name: str
    stragglers: float = 0.0
    slower: float = 1.0


WEATHERS = (
    Weather(name="well"),
    Weather(name="stragglers, 2 % × 20", stragglers=0.02),
    Weather(name="brown-out, all × 8", slower=8.0),
)


class Store:
    """Lands a range once, as a transactional one does, after the time that the weather says."""

    def __init__(self, weather: Weather, seed: int) -> None:
        self._weather, self._random = weather, random.Random(seed)
        self._places = asyncio.Semaphore(_PLACES)
        self.bad = False
        self.landed: set[addresses.Range] = set()
        self.begun = self.again = 0

    def _seconds(self) -> float:
        seconds = _USUAL_SECONDS * self._random.lognormvariate(0.0, _SPREAD)
        slow = 20.0 if self._random.random() < self._weather.stragglers else 1.0
        return seconds * slow * (self._weather.slower if self.bad else 1.0)

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        return delivery.Description(
            identity=delivery.Identity.TRANSACTIONAL, identity_reason="", max_concurrency=0, preferred_rows=0, preferred_bytes=0
        )

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        self.begun += 1
        async with self._places:
            await asyncio.sleep(self._seconds())
            known = [stretch for stretch in batch.ranges if stretch in self.landed]
            if known:
                self.again += 1
                return delivery.WriteResult(already_landed=known)
            self.landed.update(batch.ranges)
            return delivery.WriteResult(written=batch.rows.num_rows)

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        raise tables.misconfigured("NOT_QUERYABLE", "a pretended store keeps no rows", "look at what the benchmark prints")

    async def close(self) -> None: ...


Write = Callable[[delivery.SinkBatch], Awaitable[delivery.WriteResult]]


@contextlib.asynccontextmanager
async def _plain(places: Sequence[str]) -> AsyncIterator[tuple[Write, sink_client.SinkClient]]:
    async with _client(places, None) as client:
        yield lambda batch: client.write(batch, deadline_seconds=_DEADLINE_SECONDS), client


@contextlib.asynccontextmanager
async def _hedged(places: Sequence[str]) -> AsyncIterator[tuple[Write, sink_client.SinkClient]]:
    async with _client(places, hedging.Settings()) as client:
        yield lambda batch: client.write(batch, deadline_seconds=_DEADLINE_SECONDS), client


@contextlib.asynccontextmanager
async def _naive(places: Sequence[str]) -> AsyncIterator[tuple[Write, sink_client.SinkClient]]:
    """A fixed delay, no budget, no look at anything else."""
    async with _client(places, None) as first, _client(places[::-1], None) as second:

        async def write(batch: delivery.SinkBatch) -> delivery.WriteResult:
            end = await race.run(
                first.write(batch, deadline_seconds=_DEADLINE_SECONDS),
                seconds=_NAIVE_SECONDS,
                second=lambda: second.write(batch, deadline_seconds=_DEADLINE_SECONDS),
                good=lambda _: True,
            )
            return end.value

        yield write, first


@contextlib.asynccontextmanager
async def _client(places: Sequence[str], told: hedging.Settings | None) -> AsyncIterator[sink_client.SinkClient]:
    client = sink_client.SinkClient(",".join(places))
    described = await client.describe("lane", "table", _ROWS.schema)
    client.agree(
        sink_client.Terms(
            identity=described.identity, ordered=False, hedging=told, write_seconds=_DEADLINE_SECONDS, is_calm=lambda: True
        )
    )
    try:
        yield client
    finally:
        await client.close()


POLICIES = {"none": _plain, "hedging": _hedged, "naive": _naive}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run. `seconds`: each write's, from its arrival on, of the part that counts."""

    weather: Weather
    policy: str
    seconds: Sequence[float]
    firsts: int
    begun: int
    hedges: dict[str, int]

    @property
    def added_percent(self) -> float:
        return 100.0 * (self.begun / self.firsts - 1.0)

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def _batch(number: int) -> delivery.SinkBatch:
    stretch = addresses.Range("log", 0, addresses.Position(number), addresses.Position(number + 1))
    return delivery.SinkBatch(
        lane="lane", table="table", ranges=[stretch], token=str(number), finished_below=(), key_columns=(), rows=_ROWS
    )


async def measure(weather: Weather, policy: str, writes: int, seed: int) -> Measured:
    """Writes arrive by chance, whatever becomes of those before; what counts comes after a first tenth, in which the client
    learns, or, where the weather changes, after the change."""
    store, rng = Store(weather, seed), random.Random(seed + 1)
    async with contextlib.AsyncExitStack() as stack:
        places = []
        for _ in range(3):
            serving = server.SinkServer(store, sink_type="Pretended", address="127.0.0.1:0")
            await serving.start()
            stack.push_async_callback(serving.close, grace_seconds=0.0)
            places.append(serving.address)
        write, client = await stack.enter_async_context(POLICIES[policy](places))
        slots, seconds = asyncio.Semaphore(_SLOTS), [0.0] * writes

        async def one(number: int) -> None:
            arrived = time.perf_counter()
            async with slots:
                await write(_batch(number))
            seconds[number] = time.perf_counter() - arrived

        counted = writes // 2 if weather.slower > 1.0 else writes // 10
        begun = 0
        async with asyncio.TaskGroup() as group:
            for number in range(writes):
                if number == counted:
                    store.bad, begun = True, store.begun
                group.create_task(one(number))
                await asyncio.sleep(rng.expovariate(_PER_SECOND))
        assert len(store.landed) == writes, "each write has landed, and once"
        return Measured(
            weather=weather,
            policy=policy,
            seconds=seconds[counted:],
            firsts=writes - counted,
            begun=store.begun - begun,
            hedges=dict(client.hedges),
        )


def _show(console: rich.console.Console, found: Sequence[Measured]) -> None:
    table = rich.table.Table("store", "second writes", "p50 ms", "p95 ms", "p99 ms", "longest ms", "writes added", "of which")
    for one in found:
        table.add_row(
            one.weather.name,
            one.policy,
            *(f"{1000 * one.quantile(share):,.0f}" for share in (0.5, 0.95, 0.99, 1.0)),
            f"{one.added_percent:.1f} %",
            ", ".join(f"{why} {count}" for why, count in sorted(one.hedges.items())) or "-",
        )
    console.print(table)
    told = machine.describe()
    console.print(f"load average {machine.load_average()}; {told}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hedging", description=__doc__)
    parser.add_argument("--writes", type=int, default=2_000, metavar="N", help="per run; 40 arrive in a second")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each kind, put together")
    told = parser.parse_args(arguments)
    found = []
    for weather in WEATHERS:
        for policy in POLICIES:
            runs = [asyncio.run(measure(weather, policy, told.writes, seed)) for seed in range(told.seeds)]
            found.append(_together(runs))
            p99 = statistics.fmean(run.quantile(0.99) for run in runs)
            print(f"{weather.name}, {policy}: p99 {1000 * p99:.0f} ms", file=sys.stderr, flush=True)
    _show(rich.console.Console(width=150 if not sys.stdout.isatty() else None), found)
    return 0


def _together(runs: Sequence[Measured]) -> Measured:
    hedges: dict[str, int] = {}
    for run in runs:
        for why, count in run.hedges.items():
            hedges[why] = hedges.get(why, 0) + count
    return dataclasses.replace(
        runs[0],
        seconds=[second for run in runs for second in run.seconds],
        firsts=sum(run.firsts for run in runs),
        begun=sum(run.begun for run in runs),
        hedges=hedges,
    )


if __name__ == "__main__":
    sys.exit(main())
