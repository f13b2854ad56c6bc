"""Faults of a pipeline whose log is in Kafka: separate processes, brokers and stores that are killed, stopped and away."""
