"""Every metric Penstock exports, in one place; call sites only call. docs/reference/metrics.md is generated from here.

Base units, bounded labels, and calls per batch or request, never per event. A counter's name here lacks the `_total` that
the exposition adds.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)

_LANE = ("pipeline", "namespace", "sink")
_PIPELINE = ("pipeline", "namespace")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROWS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000)
_BYTES = tuple(4**exponent for exponent in range(5, 15))


def _counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
    return Counter(f"penstock_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
    return Gauge(f"penstock_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"penstock_{name}", text, labels, buckets=buckets, registry=REGISTRY)


BUILD_INFO = _gauge("build_info", "Always 1; the version is in the label.", ("version",))

# Ingest
INGEST_EVENTS = _counter("ingest_events", "Events by door and outcome (accepted, rejected).", (*_PIPELINE, "door", "outcome"))
INGEST_REJECTIONS = _counter("ingest_rejections", "Events refused one by one, by code.", (*_PIPELINE, "code"))
INGEST_REFUSALS = _counter("ingest_refusals", "Requests refused as a whole, by reason.", (*_PIPELINE, "reason"))
INGEST_BYTES = _counter("ingest_bytes", "Bytes of accepted events.", _PIPELINE)
INGEST_IN_FLIGHT_BYTES = _gauge("ingest_in_flight_bytes", "Request bytes held until they are durable.", _PIPELINE)
INGEST_ACK_SECONDS = _histogram("ingest_ack_seconds", "Request received to durable.", (*_PIPELINE, "door"), _SECONDS)
INGEST_PARSE_SECONDS = _counter("ingest_parse_seconds", "CPU seconds of parsing, by path (bulk, exact).", (*_PIPELINE, "path"))
BLOCK_EVENTS = _histogram("block_events", "Events per block appended.", _PIPELINE, _ROWS)
BLOCK_BYTES = _histogram("block_bytes", "Encoded bytes per block appended.", _PIPELINE, _BYTES)
BLOCK_CLOSES = _counter("block_closes", "Blocks closed, by reason (rows, bytes, linger, idle, drain).", (*_PIPELINE, "reason"))

# Log
LOG_APPEND_SECONDS = _histogram("log_append_seconds", "Append called to durable.", ("topic",), _SECONDS)
LOG_FLUSH_RECORDS = _histogram("log_flush_records", "Records that shared one flush.", (), (1, 2, 4, 8, 16, 32, 64, 128))
LOG_BYTES = _gauge("log_bytes", "Bytes the log holds.", _PIPELINE)

# Lane
LANE_EVENTS = _counter("lane_events", "Events by outcome (read, duplicate, dead_lettered, transformed).", (*_LANE, "outcome"))
LANE_ROWS = _counter("lane_rows", "Rows by outcome (made, filtered, other_lanes, written, dead_lettered).", (*_LANE, "outcome"))
LANE_REPLAYS = _counter(
    "lane_replays", "Replayed dead letters and their rows (letters, rows_landed, failed_again).", (*_LANE, "outcome")
)
LANE_LAG_EVENTS = _gauge("lane_lag_events", "Events in the log that this lane has not finished.", _LANE)
LANE_LAG_SECONDS = _gauge("lane_lag_seconds", "Age of the oldest block this lane has not finished.", _LANE)
LANE_RETENTION_USED = _gauge(
    "lane_retention_used_ratio",
    "Of a source in Kafka: the share of what its topics keep, by age and size, that the oldest unread record has used up.",
    _LANE,
)
LANE_UNEXPLAINED = _gauge("lane_unexplained", "What the ledger cannot account for; anything but 0 is a fault.", _LANE)
LANE_STAGE_SECONDS = _counter(
    "lane_stage_seconds",
    "CPU seconds by stage (decode, deduplicate, state, explode, transform, form, encode).",
    (*_LANE, "stage"),
)
DEAD_LETTERS = _counter("dead_letters", "Dead letters written, by category.", (*_LANE, "category"))
DEAD_LETTERS_OUTSTANDING = _gauge("dead_letters_outstanding", "Dead letters that wait, by category.", (*_LANE, "category"))
DEAD_LETTERS_EXPIRED = _gauge("dead_letters_expired", "Dead letters that waited until their retention ended.", _LANE)
SUSPECTS = _counter("suspects", "Blocks tried in a child process after a crash loop (convicted, cleared).", (*_LANE, "outcome"))
DROPPED_EVENTS = _counter("dropped_events", "Events that a removed sink had not read when its lane was dropped.", _LANE)
CIRCUIT_STATE = _gauge("circuit_state", "0 closed, 1 half-open, 2 open.", _LANE)
RETRIES = _counter("retries", "Writes tried again, by result class.", (*_LANE, "result_class"))
RETRY_BUDGET_SECONDS = _counter("retry_budget_seconds", "Seconds that retries waited for the lane's budget.", _LANE)
HEDGES = _counter(
    "hedges",
    "Slow writes sent a second time (won, lost: whether it answered first), or not (by why).",
    (*_LANE, "outcome"),
)
PRESSURE = _gauge("pressure", "Steps the store's pressure has moved batches towards fewer and larger ones; 0 none.", _LANE)
ENDPOINTS = _gauge("endpoints", "Endpoints of the sink (known, well).", (*_LANE, "state"))

# Source
SOURCE_READ_SECONDS = _counter("source_read_seconds", "CPU seconds of taking apart what the source's brokers answered.", ())
SOURCE_RECORDS = _counter("source_records", "Records read from the source's topics, once for each lane that reads them.", ())
SOURCE_BYTES = _counter("source_bytes", "Bytes of what the source's brokers answered, as sent.", ())

# Deduplication
DEDUP_IDS = _gauge("dedup_ids", "Keys remembered.", _LANE)
DEDUP_BYTES = _gauge("dedup_bytes", "Memory of the deduplication table.", _LANE)
DEDUP_EVICTED = _counter("dedup_evicted", "Keys forgotten because they left the window.", _LANE)

# Keyed state
STATE_KEYS = _gauge("state_keys", "Keys remembered.", _LANE)
STATE_BYTES = _gauge("state_bytes", "Memory of the keys' state.", _LANE)
STATE_EVICTED = _counter("state_evicted", "Keys forgotten because there were more than maxKeysPerPartition.", _LANE)
STATE_UNKEPT = _counter("state_unkept_values", "Last values too long to remember (over 1,024 bytes).", _LANE)
STATE_SNAPSHOT_BYTES = _histogram("state_snapshot_bytes", "Bytes of a snapshot written.", _LANE, _BYTES)

# Batches
BATCH_ROWS = _histogram("batch_rows", "Rows per batch dispatched.", _LANE, _ROWS)
BATCH_BYTES = _histogram("batch_bytes", "Arrow bytes per batch dispatched.", _LANE, _BYTES)
BATCH_FLUSHES = _counter("batch_flushes", "Batches closed, by reason.", (*_LANE, "reason"))
BATCH_QUEUE_SECONDS = _histogram("batch_queue_seconds", "First row in to dispatch.", _LANE, _SECONDS)
DISPATCHES = _counter("dispatches", "Batches dispatched, by whether they had to wait for a slot.", (*_LANE, "waited"))
WRITE_SECONDS = _histogram("write_seconds", "One WriteBatch call.", (*_LANE, "outcome"), _SECONDS)
WRITE_SUMS = _counter("write_sums", "The fit's sums over writes (n, n2, t, nt, t2; t winsorised).", (*_LANE, "sum"))
WRITE_TIMEOUTS = _counter("write_timeouts", "Writes that ran into their time-out.", _LANE)
LANDING_RATIO = _histogram(
    "landing_ratio",
    "Dispatch to landed over the model's expectation, retries included.",
    _LANE,
    tuple(0.25 * 1.1**step for step in range(59)),
)
ROWS_LATE = _counter("rows_late", "Rows landed later than the latency objective.", _LANE)
LATENCY_SECONDS = _histogram("latency_seconds", "Accepted to landed, oldest row of each batch.", _LANE, _SECONDS)
STORE_LEVEL = _gauge("store_level", "How many times slower than the model the store is now (g).", _LANE)
SLOTS = _gauge("slots", "Write slots (limit, in_use).", (*_LANE, "kind"))

# Sinks
SINK_WRITE_SECONDS = _histogram("sink_write_seconds", "The store's part of a write.", ("sink_type", "outcome"), _SECONDS)
SINK_ROWS = _counter("sink_rows", "Rows by outcome (written, already_landed, rejected).", ("sink_type", "outcome"))
SINK_BYTES = _counter("sink_bytes", "Arrow bytes received by the sink.", ("sink_type",))
SINK_POOL_CONNECTIONS = _gauge(
    "sink_pool_connections", "Connections of the pools to the store (limit, in_use, idle).", ("sink_type", "state")
)
SINK_POOL_WAIT_SECONDS = _histogram("sink_pool_wait_seconds", "Wait for a free connection.", ("sink_type",), _SECONDS)
SINK_POOL_IDLE_SECONDS = _histogram(
    "sink_pool_idle_seconds", "How long a connection was idle before it was used again.", ("sink_type",), _SECONDS
)
SINK_POOL_LIFETIME_SECONDS = _histogram(
    "sink_pool_lifetime_seconds",
    "Age of a connection when it was closed, by reason (idle, lifetime, failed, closed).",
    ("sink_type", "reason"),
    _SECONDS,
)
SINK_STAGE_SECONDS = _histogram(
    "sink_stage_seconds", "Parts of a write, by stage (encode, produce).", ("sink_type", "stage"), _SECONDS
)
SINK_QUEUE_RECORDS = _gauge(
    "sink_queue_records", "Records handed to the producer that no broker has acknowledged.", ("sink_type",)
)
SINK_QUEUE_BYTES = _gauge("sink_queue_bytes", "Their bytes, as sent.", ("sink_type",))

# Process
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag_seconds", "How late a 100 ms timer fires.", (), _SECONDS)
GC_PAUSE_SECONDS = _histogram("gc_pause_seconds", "Garbage collection pauses by generation.", ("generation",), _SECONDS)

# Operator
OPERATOR_LOOKS = _counter(
    "operator_looks", "Looks at a pipeline, by outcome (quiet, acted, refused, failed, compiling).", ("outcome",)
)
OPERATOR_LOOK_SECONDS = _histogram("operator_look_seconds", "How long a look takes.", (), _SECONDS)
OPERATOR_QUEUE = _gauge("operator_queue_pipelines", "Pipelines that wait for a look.", ())
