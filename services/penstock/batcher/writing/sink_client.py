"""The batcher's end of `penstock.v1.Sink`: one lane's way to its store, through one or several endpoints.

Which endpoint takes a write, and when one is sent a second time, is decided in `core.endpoints` and `core.hedging`; here are
the channels and the clock.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent import futures
from typing import Any, TypeVar

import pyarrow as pa
import structlog

from penstock.batcher.writing import race, resolving, sink_channel
from penstock.core import delivery, endpoints, hedging, results

T = TypeVar("T")

_RESOLVE_SECONDS = 5.0

_log = structlog.get_logger()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed with the sink, and what the lane wants. `write_seconds`: how long a write may take; `is_calm`: nothing is
    the matter with the store as a whole."""

    identity: delivery.Identity
    ordered: bool
    hedging: hedging.Settings | None
    write_seconds: float
    is_calm: Callable[[], bool]


def _nothing() -> None:
    return None


class SinkClient:
    """`addresses`: gRPC's, with commas between them: "unix:/path/sink.sock", "host:port". A name that stands for several hosts
    is several endpoints, and is looked up again and again. `compression` is Arrow's and pays off over a real network only.

    Calls may run concurrently; none after `close`.
    """

    def __init__(
        self,
        addresses: str,
        *,
        compression: sink_channel.Compression | None = None,
        dial: sink_channel.Dial = sink_channel.dial,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = addresses.split(",")
        self._compression, self._dial, self._clock = compression, dial, clock
        self._names: dict[str, str] = dict.fromkeys(self._given, "")
        self._endpoints = endpoints.Endpoints(self._given, random=random.random)
        self._channels: dict[str, sink_channel.SinkChannel] = {}
        self._encoder = futures.ThreadPoolExecutor(1, thread_name_prefix="sink-encode")
        self._has_names = any(map(resolving.is_name, self._given))
        self._resolving: asyncio.Task[None] | None = None
        self._is_calm: Callable[[], bool] = lambda: True
        self._hedging: hedging.Hedging | None = None
        self._returns = 0
        self._told: Callable[[int], None] = lambda _: None
        self._has_one_writer = False
        self.hedges: collections.Counter[str] = collections.Counter()
        """Second writes by what became of them (won, lost), and those withheld by why."""

    @property
    def endpoints(self) -> int:
        """How many there are now."""
        return len(self._endpoints.addresses)

    @property
    def endpoints_well(self) -> int:
        """How many of them have not failed last."""
        return self._endpoints.well()

    def agree(self, terms: Terms) -> None:
        """After `describe` and before the first write."""
        self._endpoints.keep_order(terms.ordered, repeatable=terms.identity is not delivery.Identity.NONE)
        self._is_calm = terms.is_calm
        self._hedging = None
        if terms.hedging and hedging.allowed(terms.identity, ordered=terms.ordered):
            limited = terms.identity is delivery.Identity.TOKEN
            self._hedging = hedging.Hedging(terms.hedging, write_seconds=terms.write_seconds if limited else None)

    def follow_endpoints(self, told: Callable[[int], None]) -> None:
        """`told` is called with how many there are, now and whenever that has changed."""
        self._told = told
        told(self.endpoints)

    def returns(self) -> int:
        """How often so far an endpoint that was gone has been found there again. It takes writes at once."""
        for address, channel in self._channels.items():
            if channel.has_returned():
                self._returns += 1
                self._endpoints.returned(address)
        return self._returns

    def forgive(self) -> None:
        """The circuit lets a trial through: it may find any of the endpoints."""
        self._endpoints.forgive()

    async def describe(self, lane: str, table: str, schema: pa.Schema, *, deadline_seconds: float = 30.0) -> delivery.Description:
        """What holds on this table, of the first endpoint that can say. Raises WriteFailedError: config (the table can't be
        written as it is) or outage."""
        await self._resolved()
        for left in reversed(range(self.endpoints)):
            asked = self._call(
                self._endpoints.pick(self._clock()),
                lambda channel: channel.describe(lane, table, schema, deadline_seconds=deadline_seconds),
                deadline_seconds,
            )
            try:
                return self._checked(await asked)
            except delivery.WriteFailedError as error:
                if not left or error.failure.result_class is not results.ResultClass.OUTAGE:
                    raise
        raise AssertionError("there is always an endpoint")

    def _checked(self, described: delivery.Description) -> delivery.Description:
        self._has_one_writer = described.identity is delivery.Identity.MANIFEST
        self._check_writers()
        return described

    def _check_writers(self) -> None:
        """Also before each write: a name may come to stand for several."""
        if self._has_one_writer and self.endpoints > 1:
            raise delivery.WriteFailedError(
                results.Failure(
                    result_class=results.ResultClass.CONFIG,
                    code="SEVERAL_WRITERS",
                    message=f"{', '.join(self._given)} are {self.endpoints} endpoints, and a folder has one writer",
                    remedy="run one sink process for it, and give its address alone",
                )
            )

    async def write(
        self, batch: delivery.SinkBatch, *, deadline_seconds: float, repeating: Callable[[], None] = _nothing
    ) -> delivery.WriteResult:
        """Return when the sink says that the rows are durable. Raises WriteFailedError.

        `repeating` is called before the same write leaves a second time: from then on what landed may be the other's doing.
        """
        await self._resolved()
        self._check_writers()
        loop = asyncio.get_running_loop()
        stream = await loop.run_in_executor(self._encoder, sink_channel.encode, batch.rows, self._compression)
        ends = self._clock() + deadline_seconds

        def send(address: str) -> Coroutine[Any, Any, delivery.WriteResult]:
            left = max(0.001, ends - self._clock())
            return self._call(address, lambda channel: channel.write(batch, stream, deadline_seconds=left), left)

        self.returns()
        address = self._endpoints.pick(self._clock())
        if self._hedging is None or self.endpoints == 1:
            return await send(address)
        return await self._raced(self._hedging, address, batch.rows.num_rows, send, repeating)

    async def _raced(
        self,
        hedger: hedging.Hedging,
        address: str,
        rows: int,
        send: Callable[[str], Coroutine[Any, Any, delivery.WriteResult]],
        repeating: Callable[[], None],
    ) -> delivery.WriteResult:
        began = self._clock()
        flight = hedger.start(began, rows)
        landed = False
        try:
            seconds = flight.due - began
            second = lambda: self._second(hedger, flight, address, send, repeating)  # noqa: E731 - it is passed on once
            end = await race.run(send(address), seconds=seconds, second=second, good=_landed)
            landed = _landed(end.value)
            if flight.hedged:
                self.hedges["won" if end.second else "lost"] += 1
            if end.overtaken:
                self._endpoints.lost(self._clock(), address, began=began)
            return end.value
        except delivery.WriteFailedError:
            self.hedges["lost"] += flight.hedged
            raise
        finally:
            hedger.finish(self._clock(), flight, landed=landed)

    def _second(
        self,
        hedger: hedging.Hedging,
        flight: hedging.Flight,
        first: str,
        send: Callable[[str], Coroutine[Any, Any, delivery.WriteResult]],
        repeating: Callable[[], None],
    ) -> Coroutine[Any, Any, delivery.WriteResult] | None:
        now = self._clock()
        other = self._endpoints.pick_beside(now, first)
        withheld = hedger.withheld(now, flight, calm=self._is_calm(), another=other is not None)
        if withheld is not None or other is None:
            if not flight.told:
                self.hedges[(withheld or hedging.Withheld.ENDPOINT).value] += 1
            flight.told = True
            return None
        repeating()
        return send(other)

    async def _call(self, address: str, call: Callable[[sink_channel.SinkChannel], Awaitable[T]], deadline_seconds: float) -> T:
        """The call, with what it says about the endpoint noted. Raises WriteFailedError."""
        began = self._clock()
        self._endpoints.began(address)
        try:
            value = await call(self._channel(address))
        except delivery.WriteFailedError as error:
            self._note(error, address, began, deadline_seconds)
            raise
        except BaseException:
            self._endpoints.gave_up(address)
            raise
        self._endpoints.answered(address)
        return value

    def _note(self, error: delivery.WriteFailedError, address: str, began: float, deadline_seconds: float) -> None:
        if error.failure.result_class is not results.ResultClass.OUTAGE:
            self._endpoints.answered(address)
            return
        now = self._clock()
        # A sink ends a write within the write's own time, whether or not anybody is still there to hear of it.
        may_land_until = began + deadline_seconds if error.may_land else -math.inf
        self._endpoints.failed(now, address, began=began, may_land_until=may_land_until)
        error.elsewhere = self._endpoints.works_elsewhere(now, address)

    def _channel(self, address: str) -> sink_channel.SinkChannel:
        if address not in self._channels:
            self._channels[address] = sink_channel.SinkChannel(address, dial=self._dial, name=self._names.get(address, ""))
        return self._channels[address]

    # -- names

    async def _resolved(self) -> None:
        if self._has_names and self._resolving is None:
            self._resolving = asyncio.create_task(self._resolve_regularly())
            await self._resolve()

    async def _resolve_regularly(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE_SECONDS)
            await self._resolve()

    async def _resolve(self) -> None:
        found = await resolving.resolve(self._given)
        if found.keys() != set(self._endpoints.addresses):
            _log.info("sink_endpoints", addresses=sorted(found))
        before = self.endpoints
        self._names |= found
        self._endpoints.update(found)
        if self.endpoints != before:
            self._told(self.endpoints)
        for address in self._endpoints.gone(self._clock()):
            self._names.pop(address, None)
            if channel := self._channels.pop(address, None):
                await channel.close()

    async def close(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._resolving
        for channel in self._channels.values():
            await channel.close()
        self._encoder.shutdown(wait=True)


def _landed(result: delivery.WriteResult) -> bool:
    """All rows are durable, now or since before. A refusal is no such answer: the other copy may land what it refuses."""
    return bool(result.already_landed) or not (result.rejected or result.written_rows)
