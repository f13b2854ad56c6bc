"""The log of many machines: topics of a Kafka cluster. `front` is the way in."""
