"""What an ingest service is told at its start."""

from __future__ import annotations

import dataclasses

from penstock.core import failpoints
from penstock.core import schema as schemas

_MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """One pipeline's doors. Addresses are `host:port`; port 0 takes a free one.

    `partition_by` names the columns whose equal values share a partition; where it is empty, `deduplicate_key` does, and
    where both are, blocks take the partitions in turn.
    """

    namespace: str
    pipeline: str
    schema: schemas.Schema
    max_event_bytes: int = _MIB
    partition_by: tuple[str, ...] = ()
    deduplicate_key: tuple[str, ...] = ()
    grpc_address: str = "127.0.0.1:9090"
    http_address: str = "127.0.0.1:8080"
    block_rows: int = 10_000
    block_bytes: int = 4 * _MIB
    linger_seconds: float = 0.02
    max_in_flight_bytes: int = 64 * _MIB
    max_request_bytes: int = 64 * _MIB
    max_message_bytes: int = 16 * _MIB
    """Of a gRPC request. It is in memory as a whole before room can be held for it, unlike an HTTP body."""
    max_calls: int = 256
    """gRPC calls under way at once, streams too: each may have such a request in memory."""
    max_connections: int = 1_024
    """HTTP connections, each with a buffer of its own."""
    append_timeout_seconds: float = 10.0
    body_seconds: float = 60.0
    """What a body may take to arrive: a client that stops half-way must not hold its room for ever."""
    body_idle_seconds: float = 10.0
    """And the longest pause in it."""
    connection_idle_seconds: float = 75.0
    """How long an HTTP connection may stay without a whole request head: longer than the minute of most balancers."""
    failpoint: failpoints.Failpoint = failpoints.nothing

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that choose the partition; empty: blocks take turns."""
        return self.partition_by or self.deduplicate_key
