"""The operator as one process: watches fill the queue, workers empty it, a sweep and the pods' reports add to it."""

from __future__ import annotations

import asyncio
import datetime
import functools
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from penstock.telemetry import exposition, metrics
from penstock_operator import queue, reconcile, settings, snapshot
from penstock_operator.edge import (
    api,
    asking,
    claiming,
    cluster,
    lease,
    recorder,
    replay_asking,
    replays,
    sql,
    sweep,
    tokens,
    watching,
)

if TYPE_CHECKING:
    from penstock_operator.edge import webhook

WORKERS: Final = 4
AGAIN_SECONDS: Final = 5.0
_LONGEST_AGAIN_SECONDS: Final = 60.0
MOST_IN_A_ROW: Final = 8
"""Looks that found something to do, one after the other. Beyond, somebody undoes it each time, and nobody gains by haste."""
_DEFINITIONS: Final = "/apis/penstock.dev/v1alpha1"
_WAIT_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 10.0
_STILL_SECONDS: Final = 30.0
_FIRST_SWEEP_SECONDS: Final = 5.0

_log = structlog.get_logger()


class DeafError(Exception):
    """A watch has gone deaf. A new process has new ones."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Service:
    """`run` once. `stop` may be called from a signal handler."""

    def __init__(self, told: settings.Settings, connection: api.Api, known: tokens.Tokens) -> None:
        self._told, self._api = told, connection
        self._queue: queue.KeyedQueue[reconcile.PipelineRef] = queue.KeyedQueue(random.random)
        self._asker = asking.Asker(known, self._queue.add, time.monotonic)
        self._sql = sql.Checker(lambda ref: self._queue.add(ref, at_once=True), time.monotonic)
        made = recorder.Recorder(connection, socket.gethostname(), _now, time.monotonic)
        claimed = claiming.Claims(lambda ref: self._queue.add(ref, at_once=True))
        self._cluster = _Seen(cluster.Cluster(connection, self._asker, self._sql, known, made, claimed))
        self._sweeper = sweep.Sweeper(self._cluster.there, told.namespaces, self._queue.add, _now)
        self._replays = replays.Replays(connection, self._cluster.there, replay_asking.ReplayAsker(known), told, made, _now)
        self._watches = watching.Watches(self._heard, self._replays.heard)
        self._canary = sweep.Canary(self._watches, time.monotonic)
        self._stopping, self._blind = asyncio.Event(), threading.Event()
        self._in_a_row: dict[reconcile.PipelineRef, int] = {}
        self._waits = "starting"
        self._webhook: webhook.Webhook | None = None
        self._ticked = time.monotonic()
        self._exposed = exposition.MetricsServer(told.metrics_address, alive=self._why_dead, ready=lambda: self._waits)

    def stop(self) -> None:
        """End in good order."""
        self._stopping.set()

    async def run(self) -> None:
        """Until it is stopped. Raises DeafError."""
        await self._exposed.start()
        await self._start_webhook()
        ticking = asyncio.create_task(self._tick())
        held = self._lease()
        try:
            if not await self._until_stopped(self._prepare(held)):
                await self._work(held)
        finally:
            self._waits = "stopping"
            ticking.cancel()
            if self._webhook:
                await self._webhook.close()
            await self._sql.close()
            await self._asker.close()
            if held:
                await held.release()
            self._queue.close()
            await self._exposed.close()

    async def _start_webhook(self) -> None:
        """Also of an operator that waits for its turn: the cluster asks any of them."""
        if self._told.webhook_address:
            from penstock_operator.edge import webhook  # a server's worth of memory that few need

            self._webhook = webhook.Webhook(self._told, self._sql)
            await self._webhook.start()

    def _lease(self) -> lease.Lease | None:
        if not self._told.lease:
            return None
        return lease.Lease(
            self._api,
            namespace=self._told.operator_namespace,
            name=self._told.lease,
            holder=f"{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}",
            monotonic=time.monotonic,
            lost=_leave_at_once,
        )

    async def _prepare(self, held: lease.Lease | None) -> None:
        """Wait for what can't be done without: the definitions, and, of several operators, one's turn."""
        self._waits = "waiting for the definitions of penstock.dev/v1alpha1 (kubectl apply the CRDs)"
        await self._patiently(self._has_definitions)
        await self._patiently(self._cluster.there.look_for_kinds)
        if held:
            # Ready all the same: a second replica that waits for its turn is as it should be.
            self._waits = ""
            await held.acquire()
        await self._patiently(functools.partial(self._cluster.there.learn_claims, self._told.namespaces))

    def _heard(self, ref: reconcile.PipelineRef, urgent: bool) -> None:
        self._queue.add(ref, at_once=urgent)
        self._replays.heard_pipeline(ref)

    async def _has_definitions(self) -> None:
        found = await self._api.call("GET", _DEFINITIONS)
        missing = {"batchpipelines", "deadletterreplays"} - {one["name"] for one in found.get("resources", ())}
        if missing:
            raise api.ApiError(404, "NotFound", f"not there: {', '.join(sorted(missing))}")

    async def _patiently(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        told = False
        while True:
            try:
                return await step()
            except (api.ApiError, api.AwayError) as error:
                if not told:
                    _log.warning("waiting", error=str(error), waits=self._waits)
                told = True
                await asyncio.sleep(_WAIT_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - a wait

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it was stopped before the work was done."""
        doing, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if doing.done():
            doing.result()
            return False
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        return True

    async def _work(self, held: lease.Lease | None) -> None:
        """All at once, until stopped or one of them ends."""
        kinds = [*self._cluster.there.watched(), *replays.WATCHED]
        watched = asyncio.create_task(watching.watch(self._watches, kinds, self._told.namespaces, self._blind))
        side = [
            asyncio.create_task(one)
            for one in (self._asker.run(), self._sweeps(), self._listen(), self._replays.run(), *([held.hold()] if held else []))
        ]
        stopping = asyncio.create_task(self._stopping.wait())
        workers = [asyncio.create_task(self._worker()) for _ in range(WORKERS)]
        try:
            done, _ = await asyncio.wait({watched, *side, *workers, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            for one in done:
                one.result()
        finally:
            self._stopping.set()
            await self._ended(watched, side, workers)

    async def _ended(
        self, watched: asyncio.Task[None], side: list[asyncio.Task[None]], workers: list[asyncio.Task[None]]
    ) -> None:
        """Looks under way are let finish, for a while."""
        self._blind.set()
        for one in side:
            one.cancel()
        await asyncio.wait({watched, *workers}, timeout=_DRAIN_SECONDS)
        for one in (watched, *workers):
            one.cancel()
        await asyncio.gather(watched, *side, *workers, return_exceptions=True)

    async def _worker(self) -> None:
        while not self._stopping.is_set():
            getting, stopping = asyncio.create_task(self._queue.get()), asyncio.create_task(self._stopping.wait())
            await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not getting.done():
                getting.cancel()
                return
            await self._look(getting.result())

    async def _look(self, ref: reconcile.PipelineRef) -> None:
        """One look; whatever goes wrong with it is this pipeline's alone, and is tried again later and later."""
        failed, began = True, time.monotonic()
        outcome = "failed"
        try:
            looked = await reconcile.reconcile(ref, self._cluster, self._told, _now)
            outcome = "refused" if looked.refusals else "acted" if looked.again else "quiet"
            self._in_a_row[ref] = in_a_row = self._in_a_row.get(ref, 0) + 1 if outcome == "acted" else 0
            failed = outcome == "refused" or in_a_row > MOST_IN_A_ROW
            for refusal in looked.refusals:
                _log.warning("refused", namespace=ref.namespace, pipeline=ref.name, child=refusal.child, reason=refusal.reason)
            self._remember(ref, quiet=outcome == "quiet")
            if outcome == "acted":
                wait = min(_LONGEST_AGAIN_SECONDS, AGAIN_SECONDS * in_a_row)
                asyncio.get_running_loop().call_later(wait, self._queue.add, ref)
        except sql.PendingError:
            failed, outcome = False, "compiling"
        except (api.ApiError, api.AwayError, claiming.TakenError) as error:
            _log.warning("look_failed", namespace=ref.namespace, pipeline=ref.name, error=str(error))
        except Exception:
            _log.exception("look_failed_unexpectedly", namespace=ref.namespace, pipeline=ref.name)
        finally:
            metrics.OPERATOR_LOOKS.labels(outcome=outcome).inc()
            metrics.OPERATOR_LOOK_SECONDS.observe(time.monotonic() - began)
            metrics.OPERATOR_QUEUE.set(len(self._queue))
            self._queue.done(ref, failed=failed)

    def _remember(self, ref: reconcile.PipelineRef, *, quiet: bool) -> None:
        live = self._cluster.last.pop(ref, None)
        if live is None:
            self._asker.forget(ref)
            self._watches.forget(ref)
            self._sweeper.seen.pop(ref, None)
            self._cluster.there.claims.forget(ref)
            self._in_a_row.pop(ref, None)
        elif quiet:
            self._sweeper.seen[ref] = sweep.of(live)
        else:
            self._sweeper.seen.pop(ref, None)

    async def _sweeps(self) -> None:
        """The first one soon: what was deleted while nobody looked."""
        wait = _FIRST_SWEEP_SECONDS
        while True:
            try:
                await self._cluster.there.look_for_kinds()
                for ref in await self._sweeper.sweep():
                    self._watches.know(ref)
                self._waits = ""
                wait = self._told.resync_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - a wait
            except (api.ApiError, api.AwayError) as error:
                self._waits = f"the cluster's API does not answer: {error}"
                _log.warning("sweep_failed", error=str(error))
                wait = _FIRST_SWEEP_SECONDS
            await asyncio.sleep(wait)

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(sweep.CANARY_SECONDS)
            try:
                deaf = self._canary.is_deaf(await self._sweeper.versions())
            except (api.ApiError, api.AwayError):
                continue  # what can't be listed can't be missed
            if deaf:
                raise DeafError(f"the watch has not told of what a list shows for {sweep.DEAF_SECONDS:.0f} s")

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(1.0)

    def _why_dead(self) -> str:
        still = time.monotonic() - self._ticked
        return f"the event loop has stood still for {still:.0f} s" if still > _STILL_SECONDS else ""


class _Seen:
    """The cluster, and what each look has seen of it."""

    def __init__(self, there: cluster.Cluster) -> None:
        self.there = there
        self.last: dict[reconcile.PipelineRef, snapshot.Snapshot] = {}
        self.take, self.write_status, self.tell = there.take, there.write_status, there.tell

    async def observe(self, pipeline: reconcile.PipelineRef) -> snapshot.Snapshot | None:
        live = await self.there.observe(pipeline)
        if live is None:
            self.last.pop(pipeline, None)
        else:
            self.last[pipeline] = live
        return live


def _leave_at_once() -> None:
    """Nothing may be done any more, not even an orderly end."""
    os._exit(1)


async def main(environment: Mapping[str, str]) -> None:
    """Raises SettingsError, KeyFileError, DeafError."""
    told = settings.of_environment(environment)
    known = tokens.read(told.key_file)
    connection = await api.Api.connected(api.kubeconfig_of(environment))
    try:
        service = Service(told, connection, known)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, service.stop)
        await service.run()
    finally:
        await connection.close()
