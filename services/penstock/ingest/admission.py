"""The one way in behind both doors: room in memory first, then a block, then the answer.

Bytes are held from before a body is read until its events are durable, even if the caller is gone by then; what does not fit
is refused at once, so that memory stays bounded whatever the clients do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.ingest import blocks, idempotency, instruments
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions

_RETRY_SECONDS = 1.0
_DRAIN_RETRY_SECONDS = 5.0
_BODY_SECONDS = 5.0
_DRAIN_POLL_SECONDS = 0.02


class Reservation:
    """Room for one request's bytes. `release` exactly once, or hand it to `Admission.submit`, which does."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size_bytes = 0

    def grow_to(self, size_bytes: int) -> submissions.Refusal | None:
        """Hold at least this much; the refusal if there is no room, and then what was held stays held."""
        more = size_bytes - self._size_bytes
        if more <= 0 and self._size_bytes:
            return None
        refusal = self._admission.take(more)
        if refusal is None:
            self._size_bytes += more
        return refusal

    def fits(self, size_bytes: int) -> submissions.Refusal | None:
        """The refusal if so much could not be held now. Holds nothing."""
        return self._admission.check(size_bytes)

    @property
    def most_bytes(self) -> int:
        """What one request can hold when nothing else is under way."""
        return self._admission.limit_bytes

    def release(self) -> None:
        self._admission.give_back(self._size_bytes)
        self._size_bytes = 0


class Admission:
    """Used from one event loop."""

    def __init__(
        self,
        settings: ingest_settings.IngestSettings,
        builder: blocks.BlockBuilder,
        measured: instruments.Instruments,
        now_microseconds: Callable[[], int],
    ) -> None:
        self.limit_bytes = settings.max_in_flight_bytes
        self._builder = builder
        self._measured = measured
        self._now_microseconds = now_microseconds
        self._remembered = idempotency.Remembered()
        self._held = 0
        self.draining = asyncio.Event()

    def reserve(self) -> Reservation:
        """An empty reservation, to be grown."""
        return Reservation(self)

    def take(self, size_bytes: int) -> submissions.Refusal | None:
        """Hold bytes, or say why not."""
        refusal = self.check(size_bytes)
        if refusal is not None:
            return refusal
        self._held += size_bytes
        self._measured.in_flight(self._held)
        return None

    def check(self, size_bytes: int) -> submissions.Refusal | None:
        """Why these bytes can't be held now, which is counted; None when they can."""
        refusal = self._refusal(size_bytes)
        if refusal is not None:
            self._measured.refused(refusal)
        return refusal

    def give_back(self, size_bytes: int) -> None:
        self._held -= size_bytes
        self._measured.in_flight(self._held)

    def unauthenticated(self) -> None:
        """Count a request whose sender showed no valid token."""
        self._measured.unauthenticated()

    async def drain(self) -> None:
        """Take no more; return when all that was taken is answered. Bodies still being read have a bound to arrive."""
        self.draining.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BODY_SECONDS
        await self._builder.drain()
        while self._held and loop.time() < deadline:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
            await self._builder.drain()

    async def submit(
        self,
        reservation: Reservation,
        *,
        encoding: submissions.Encoding,
        payload: submissions.Payload,
        door: str,
        traceparent: str = "",
        key: idempotency.Key | None = None,
    ) -> submissions.Outcome:
        """The outcome, when it is known. A caller that is cancelled leaves its events on their way, and their bytes held.

        A `key` seen before, with the same payload, gets the first one's outcome and nothing is taken.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        if key is not None:
            digest = await idempotency.digest(encoding, payload)
            known = self._remembered.find(key, digest, started)
            if known is not None:
                reservation.release()
                return known if isinstance(known, submissions.Outcome) else await asyncio.shield(known)
        submission = submissions.Submission(
            encoding=encoding,
            payload=payload,
            door=door,
            received_at_microseconds=self._now_microseconds(),
            traceparent=submissions.sampled(traceparent),
        )
        answer = self._builder.add(submission)
        if key is not None:
            self._remembered.put(key, digest, answer, started)
        answer.add_done_callback(lambda _: reservation.release())
        answer.add_done_callback(lambda done: self._measured.answered(submission, done.result(), loop.time() - started))
        return await asyncio.shield(answer)

    def _refusal(self, size_bytes: int) -> submissions.Refusal | None:
        if self.draining.is_set():
            return submissions.Refusal(
                reason=submissions.RefusalReason.DRAINING,
                message="this pipeline is draining and takes no more events here: send to another replica, or later",
                retry_after_seconds=_DRAIN_RETRY_SECONDS,
            )
        if self._held + size_bytes <= self.limit_bytes:
            return None
        return submissions.Refusal(
            reason=submissions.RefusalReason.OVERLOADED,
            message=f"{self._held:,} bytes wait to become durable and the limit is {self.limit_bytes:,}: "
            "send again later, or less",
            retry_after_seconds=_RETRY_SECONDS,
        )
