"""Getting every event of a source acknowledged over `PublishStream`, whatever happens to the connection.

A window of requests is in flight. A request is done when its response came, and only then; what was in flight when a
connection broke is sent again, in order, on the next one, so an event may arrive twice and never not at all (the pipeline's
deduplication is for that). The cursor follows the leading answered requests. Used by `penstock send` and by the demo's
sender process.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio

from penstock.cli.sending import cursor as cursors
from penstock.cli.sending import door, feed, outbox, pacing
from penstock.cli.sending import outcome as sending
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_PUSHBACK = "grpc-retry-pushback-ms"
_SAVE_SECONDS = 0.05


class _ConnectionLostError(Exception):
    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class StreamSender:
    """Sends `batches` (lists of one-event JSON documents) to the ingest behind `to`; `await run()`, once.

    `batches` is always the whole source, which `source` names; with `cursor_path` the events that were answered in an
    earlier run are skipped. Raises CursorError if that file is not this source's.
    """

    def __init__(
        self,
        to: door.Door,
        batches: Iterable[list[bytes]],
        *,
        window: int = 16,
        events_per_second: float = 0.0,
        source: str = "",
        cursor_path: pathlib.Path | None = None,
        patience: sending.Patience | None = None,
        backoff: pacing.Backoff | None = None,
        listener: sending.Listener | None = None,
    ) -> None:
        start = cursors.load(cursor_path, source) if cursor_path else cursors.Cursor(source=source)
        self._door = to
        self._cursor_path = cursor_path
        self._pace = pacing.Pace(events_per_second)
        self._patience = patience or sending.Patience()
        self._backoff = backoff or pacing.Backoff(random.Random())  # noqa: S311 - jitter, not a secret
        self._listener = listener or sending.Listener()
        self._outbox = outbox.Outbox(start, limit=window)
        self._totals = sending.Totals(accepted=start.accepted, rejected=start.rejected)
        self._wake = asyncio.Event()
        self._feed = feed.Feed(batches, skip=start.events, wake=self._wake.set)
        self._hold_until = 0.0
        self._last_answer = 0.0
        self._trouble_since: float | None = None
        self._refused_since: float | None = None

    async def run(self) -> sending.Totals:
        """Return when every event is answered. Raises UnreachableError, RefusedError, or what `batches` raised."""
        self._feed.start()
        async with self._saved_cursor():
            while await self._has_work():
                try:
                    await self._connect_and_send()
                except _ConnectionLostError as lost:
                    if not self._complete:
                        await self._recover(lost)
        return self._totals

    @property
    def _complete(self) -> bool:
        return self._feed.exhausted and self._outbox.empty

    # -- the source ------------------------------------------------------------------------------------------------

    async def _has_work(self) -> bool:
        """Wait for something to send; False when everything is answered."""
        while self._outbox.empty and not self._pull():
            if self._complete:
                return False
            await self._woken()
        return True

    def _pull(self) -> bool:
        batch = self._feed.take()
        if batch is not None:
            self._outbox.add(batch)
        return batch is not None

    async def _woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    # -- one connection --------------------------------------------------------------------------------------------

    async def _connect_and_send(self) -> None:
        async with self._door.channel() as channel:
            call = ingest_pb2_grpc.IngestStub(channel).PublishStream(metadata=self._door.metadata)
            self._outbox.send_all_again()
            self._last_answer = time.monotonic()
            tasks = asyncio.create_task(self._read(call)), asyncio.create_task(self._write(call))
            try:
                await _first_failure(tasks)
            finally:
                call.cancel()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, call: Any) -> None:
        # A broken call fails here as well, but only its reader is told why.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while (request := await self._next_request()) is not None:
                await self._hold(request)
                self._note_sent(request)
                documents = ingest_pb2.Documents(json=request.events)
                await call.write(ingest_pb2.PublishRequest(sequence=request.sequence, documents=documents))
            await call.done_writing()

    async def _next_request(self) -> outbox.Request | None:
        """What to send next; None when everything is answered and nothing more will come."""
        while True:
            if request := self._outbox.next_unsent():
                return request
            if not self._outbox.full and self._pull():
                continue
            if self._complete:
                return None
            await self._woken()

    async def _hold(self, request: outbox.Request) -> None:
        """Keep the chosen rate, and wait as long as the pipeline has asked."""
        if not request.attempts:
            await asyncio.sleep(self._pace.delay_seconds(time.monotonic(), len(request.events)))
        # Asked again after each wait: a refusal that came meanwhile may have prolonged it.
        while (wait_seconds := self._hold_until - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_seconds)

    def _note_sent(self, request: outbox.Request) -> None:
        if request.attempts:
            self._totals = dataclasses.replace(self._totals, resent=self._totals.resent + len(request.events))
        request.attempts += 1
        request.sent_at = time.monotonic()

    async def _read(self, call: Any) -> None:
        while (response := await self._next_response(call)) is not grpc.aio.EOF:
            self._last_answer, self._trouble_since = time.monotonic(), None
            self._take(response)
            self._wake.set()
        if not self._complete:
            raise _ConnectionLostError(f"{self._door.address} ended the stream")

    async def _next_response(self, call: Any) -> Any:
        reading = asyncio.ensure_future(call.read())
        try:
            while not (await asyncio.wait({reading}, timeout=self._patience.stall_seconds))[0]:
                self._check_stall()
            return reading.result()
        except grpc.aio.AioRpcError as error:
            raise _why_lost(self._door.address, error) from error
        finally:
            reading.cancel()

    def _check_stall(self) -> None:
        since = self._outbox.waiting_since
        limit = self._patience.stall_seconds
        if self._complete:
            raise _ConnectionLostError(f"{self._door.address} does not end the stream")
        if since is not None and time.monotonic() - max(since, self._last_answer) >= limit:
            raise _ConnectionLostError(f"{self._door.address} has left a request unanswered for {limit:g} s")

    # -- answers ---------------------------------------------------------------------------------------------------

    def _take(self, response: ingest_pb2.PublishResponse) -> None:
        request = self._outbox.find(response.sequence)
        if request is None:
            return
        if response.HasField("refusal"):
            self._take_refusal(request, response.refusal)
            return
        self._take_outcome(request, response)

    def _take_refusal(self, request: outbox.Request, refusal: ingest_pb2.Refusal) -> None:
        wait_seconds = refusal.retry_after_milliseconds / 1000
        retry_anyway = ingest_pb2.REFUSAL_REASON_OVERLOADED, ingest_pb2.REFUSAL_REASON_UNKNOWN_OUTCOME
        if not wait_seconds and refusal.reason not in retry_anyway:
            first, last = request.first_event + 1, request.first_event + len(request.events)
            raise sending.RefusedError(
                f"events {first:,} to {last:,} were refused: {refusal.message}", "penstock top shows the pipeline"
            )
        wait_seconds = max(wait_seconds, self._backoff.next_seconds())
        now = time.monotonic()
        self._check_refused(now, refusal.message)
        if now >= self._hold_until:
            self._listener.trouble(f"the pipeline asks to wait {wait_seconds:.1f} s: {refusal.message}")
        self._hold_until = max(self._hold_until, now + wait_seconds)
        self._outbox.send_again(request)

    def _check_refused(self, now: float, why: str) -> None:
        """An ingest that answers, and only to say "not now", is not waited for longer than one that does not answer."""
        self._refused_since = now if self._refused_since is None else self._refused_since
        patience = self._patience.give_up_seconds
        if patience and now - self._refused_since >= patience:
            raise sending.UnreachableError(
                f"{self._door.address} has taken nothing for {patience:g} s: {why}",
                "what was not acknowledged is not sent; send the same again with --cursor once there is room (penstock top)",
            )

    def _take_outcome(self, request: outbox.Request, response: ingest_pb2.PublishResponse) -> None:
        accepted, rejected = response.accepted, len(response.rejected)
        if accepted + rejected != len(request.events):
            raise sending.RefusedError(f"{self._door.address} answered for {accepted + rejected} of {len(request.events)} events")
        self._backoff.reset()
        self._refused_since = None
        self._outbox.answer(request, accepted=accepted, rejected=rejected)
        self._totals = dataclasses.replace(
            self._totals,
            accepted=self._totals.accepted + accepted,
            rejected=self._totals.rejected + rejected,
            bytes=self._totals.bytes + sum(map(len, request.events)),
        )
        for rejection in response.rejected:
            self._listener.rejected(_rejected(request.first_event, rejection))
        self._listener.progress(self._totals)

    # -- when it breaks --------------------------------------------------------------------------------------------

    async def _recover(self, lost: _ConnectionLostError) -> None:
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
            self._listener.trouble(f"{lost}; connecting again (unanswered requests: {self._outbox.unanswered:,})")
        patience = self._patience.give_up_seconds
        if patience and now - self._trouble_since >= patience:
            remedy = "start the pipeline with penstock run, or name its gRPC address with --to"
            raise sending.UnreachableError(f"{self._door.address} has not answered for {patience:g} s: {lost}", remedy) from lost
        wait_seconds = max(lost.wait_seconds, self._backoff.next_seconds())
        self._totals = dataclasses.replace(self._totals, reconnects=self._totals.reconnects + 1)
        await asyncio.sleep(wait_seconds)

    # -- the cursor ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _saved_cursor(self) -> AsyncIterator[None]:
        """While inside, the cursor file follows; afterwards, however it ends, it holds the last position."""
        if self._cursor_path is None:
            yield
            return
        stop = asyncio.Event()
        saving = asyncio.create_task(self._save_as_it_moves(self._cursor_path, stop))
        try:
            yield
        finally:
            stop.set()
            await saving

    async def _save_as_it_moves(self, path: pathlib.Path, stop: asyncio.Event) -> None:
        saved = None
        while not stop.is_set() or self._outbox.cursor is not saved:
            if self._outbox.cursor is not saved:
                saved = self._outbox.cursor
                # In a thread: an fsync on a busy disk would hold up the acknowledgements.
                await asyncio.to_thread(cursors.save, path, saved)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SAVE_SECONDS)


async def _first_failure(tasks: tuple[asyncio.Task[None], ...]) -> None:
    """Wait until all have returned, or raise what the first one raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _why_lost(address: str, error: grpc.aio.AioRpcError) -> Exception:
    """RefusedError where trying again can't help, else how long the server wants to be left alone."""
    detail = (error.details() or error.code().name).strip()
    if detail.startswith("failed to connect"):
        # "failed to connect to all addresses; last error: UNKNOWN: ipv4:…: Failed to connect to remote host: Connection refused"
        detail = detail.rpartition(": ")[2]
    remedy = _hopeless(error)
    if remedy:
        return sending.RefusedError(f"{address} refuses: {detail}", remedy)
    pushback = dict(error.trailing_metadata() or ()).get(_PUSHBACK, "0")
    return _ConnectionLostError(f"{address} is not available ({detail})", int(pushback) / 1000)


def _hopeless(error: grpc.aio.AioRpcError) -> str:
    """The remedy when the same request can never succeed, else nothing."""
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            return "what answers there is no Penstock ingest: check the address"
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return "the pipeline asks for a token that this sender does not have"
        case grpc.StatusCode.INVALID_ARGUMENT:
            return "sender and pipeline are of different versions: upgrade the older one"
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in (error.details() or ""):
            return "send smaller requests (--batch)"
        case _:
            return ""


def _code(rejection: ingest_pb2.Rejection) -> str:
    """As the HTTP door and the dead letters spell it: SchemaMismatch."""
    name = ingest_pb2.RejectionCode.Name(rejection.code).removeprefix("REJECTION_CODE_")
    return "".join(map(str.capitalize, name.split("_")))


def _rejected(first_event: int, rejection: ingest_pb2.Rejection) -> sending.Rejected:
    return sending.Rejected(
        event=first_event + rejection.index,
        code=_code(rejection),
        field=rejection.field,
        reason=rejection.reason,
        remedy=rejection.remedy,
    )
