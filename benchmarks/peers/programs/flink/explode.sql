SET 'pipeline.object-reuse' = 'true';
SET 'execution.checkpointing.interval' = '60 s';
SET 'execution.checkpointing.dir' = 'file://{folder}/checkpoints';
CREATE TABLE events (
  id STRING, user_id BIGINT, ts STRING, `type` STRING, items ARRAY<ROW<sku STRING, qty INT, price DOUBLE>>
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'properties.group.id' = 'flink-{into}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
);
CREATE TABLE exploded (
  id STRING, user_id BIGINT, ts STRING, `type` STRING, item_no INT, sku STRING, qty INT, price DOUBLE, amount DOUBLE
) WITH (
  'connector' = 'kafka', 'topic' = '{into}', 'properties.bootstrap.servers' = '{servers}', 'key.format' = 'raw', 'key.fields' = 'id',
  'format' = 'json', 'sink.delivery-guarantee' = 'at-least-once', 'properties.acks' = 'all', 'properties.linger.ms' = '50',
  'properties.batch.size' = '1000000'
);
INSERT INTO exploded
SELECT id, user_id, ts, `type`, item_no - 1, sku, qty, price, qty * price
FROM events CROSS JOIN UNNEST(items) WITH ORDINALITY AS item (sku, qty, price, item_no);
