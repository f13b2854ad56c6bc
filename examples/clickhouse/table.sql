-- What a table for much data has and CreateIfMissing can't know: an order, partitions, types that compress.
CREATE TABLE default.views
(
    id   String,
    at   DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    page LowCardinality(Nullable(String)),
    user Nullable(Int64),
    tags Array(LowCardinality(Nullable(String)))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, id)
SETTINGS non_replicated_deduplication_window = 10000;
