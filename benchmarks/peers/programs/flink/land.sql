SET 'table.exec.state.ttl' = '1 h';
SET 'pipeline.object-reuse' = 'true';
SET 'state.backend.type' = 'hashmap';
SET 'execution.checkpointing.interval' = '60 s';
SET 'execution.checkpointing.dir' = 'file://{folder}/checkpoints';
CREATE TABLE events (
  id STRING, user_id BIGINT, ts STRING, `type` STRING, page STRING, region STRING, meta ROW<`device-id` STRING>, seconds DOUBLE,
  items ARRAY<ROW<sku STRING, qty INT, price DOUBLE>>, seen AS PROCTIME()
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'properties.group.id' = 'flink-{into}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
);
CREATE TABLE landed (
  id STRING, user_id BIGINT, ts STRING, kind STRING, page STRING, region STRING, device STRING, shard BIGINT, milliseconds DOUBLE,
  `hour` STRING, is_sale BOOLEAN, item_count INT
) WITH ('connector' = 'filesystem', 'path' = 'file://{folder}/landed', 'format' = 'json', 'sink.rolling-policy.file-size' = '1GB');
INSERT INTO landed
SELECT id, user_id, ts, UPPER(`type`), LOWER(page), COALESCE(region, 'unknown'), 'd-' || meta.`device-id`, MOD(user_id, 64),
  seconds * 1000e0, SUBSTRING(ts, 1, 13) || ':00:00Z', `type` = 'purchase' AND MOD(user_id, 2) = 0, COALESCE(CARDINALITY(items), 0)
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY seen) AS nth FROM events)
WHERE nth = 1 AND `type` <> 'heartbeat';
