"""Kafka topics: one record per row."""
