"""The metrics of one pipeline's ingest, with their labels bound once, and the same counts for the status."""

from __future__ import annotations

import dataclasses

from penstock.ingest import compose
from penstock.ingest import submission as submissions
from penstock.telemetry import metrics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Since the start of the process, but `bytes_in_flight`, which is now."""

    accepted: int
    rejected: int
    refused_requests: int
    blocks: int
    bytes_in_flight: int


class Instruments:
    """Called per request or block, never per event."""

    def __init__(self, namespace: str, pipeline: str) -> None:
        labels = {"pipeline": pipeline, "namespace": namespace}
        self._labels = labels
        self._bytes = metrics.INGEST_BYTES.labels(**labels)
        self._in_flight = metrics.INGEST_IN_FLIGHT_BYTES.labels(**labels)
        self._block_events = metrics.BLOCK_EVENTS.labels(**labels)
        self._block_bytes = metrics.BLOCK_BYTES.labels(**labels)
        self._accepted = self._rejected = self._refused = self._blocks = self._bytes_in_flight = 0

    def in_flight(self, size_bytes: int) -> None:
        self._bytes_in_flight = size_bytes
        self._in_flight.set(size_bytes)

    def closed(self, reason: str) -> None:
        metrics.BLOCK_CLOSES.labels(**self._labels, reason=reason).inc()

    def composed(self, composed: compose.Composed) -> None:
        path = "exact" if composed.exact_events else "bulk"
        metrics.INGEST_PARSE_SECONDS.labels(**self._labels, path=path).inc(composed.parse_cpu_seconds)
        self._blocks += len(composed.blocks)
        for block in composed.blocks:
            self._block_events.observe(block.rows)
            self._block_bytes.observe(len(block.value))

    def answered(self, submission: submissions.Submission, outcome: submissions.Outcome, seconds: float) -> None:
        """One request's end, however it ended."""
        if outcome.refusal is not None:
            self.refused(outcome.refusal)
            return
        self._accepted += outcome.accepted
        self._rejected += len(outcome.rejected)
        door = submission.door
        metrics.INGEST_EVENTS.labels(**self._labels, door=door, outcome="accepted").inc(outcome.accepted)
        metrics.INGEST_EVENTS.labels(**self._labels, door=door, outcome="rejected").inc(len(outcome.rejected))
        metrics.INGEST_ACK_SECONDS.labels(**self._labels, door=door).observe(seconds)
        if outcome.accepted:
            self._bytes.inc(submission.size_bytes)
        for code in {why.code for why in outcome.rejected}:
            count = sum(why.code is code for why in outcome.rejected)
            metrics.INGEST_REJECTIONS.labels(**self._labels, code=code.value).inc(count)

    def refused(self, refusal: submissions.Refusal) -> None:
        self._turned_away(refusal.reason.value)

    def unauthenticated(self) -> None:
        self._turned_away("Unauthenticated")

    def _turned_away(self, reason: str) -> None:
        self._refused += 1
        metrics.INGEST_REFUSALS.labels(**self._labels, reason=reason).inc()

    def stats(self) -> Stats:
        return Stats(
            accepted=self._accepted,
            rejected=self._rejected,
            refused_requests=self._refused,
            blocks=self._blocks,
            bytes_in_flight=self._bytes_in_flight,
        )
