"""The durable, partitioned, ordered log between ingest and batcher: one port, an embedded and a Kafka implementation."""
