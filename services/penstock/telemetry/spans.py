"""Every span and span-attribute name, in one place; nothing here imports a tracing library.

Names follow the OpenTelemetry semantic conventions for messaging, RPC and databases where these have a word for it; ours
carry the prefix `penstock.`. A span stands for a request, a block, a batch or a write, never for one event.
"""

from __future__ import annotations

from typing import Final

# Spans, in the order an event meets them.
PUBLISH: Final = "penstock.Ingest/Publish"
PUBLISH_LOG: Final = "publish log"
READ: Final = "read"
DEDUPLICATE: Final = "deduplicate"
TRANSFORM: Final = "transform"
BATCHED: Final = "batched"
WRITE_BATCH: Final = "WriteBatch"
DEAD_LETTER: Final = "dead letter"
REPLAY: Final = "replay"


def flush(sink: str) -> str:
    """Forming and dispatching one batch; bounded by the number of sinks."""
    return f"flush {sink}"


def insert(store: str) -> str:
    """The store's own part of a write."""
    return f"insert {store}"


# Attributes of the conventions.
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_PARTITION: Final = "messaging.destination.partition.id"
MESSAGING_GROUP: Final = "messaging.consumer.group.name"
MESSAGING_OPERATION: Final = "messaging.operation.type"
MESSAGING_BATCH_COUNT: Final = "messaging.batch.message_count"
RPC_SYSTEM: Final = "rpc.system"
DATABASE_SYSTEM: Final = "db.system.name"
DATABASE_TABLE: Final = "db.collection.name"
ERROR_TYPE: Final = "error.type"

# Attributes of our own.
NAMESPACE: Final = "penstock.namespace"
PIPELINE: Final = "penstock.pipeline"
SINK: Final = "penstock.sink"
LOG_ID: Final = "penstock.log.id"
OFFSET: Final = "penstock.log.offset"
BATCH_ROWS: Final = "penstock.batch.rows"
BATCH_BYTES: Final = "penstock.batch.bytes"
FLUSH_REASON: Final = "penstock.batch.flush_reason"
RESULT_CLASS: Final = "penstock.result.class"
DEAD_LETTER_ID: Final = "penstock.dead_letter.id"
