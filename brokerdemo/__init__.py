"""A Kafka-style broker cluster on the coordination service: kill it, watch it recover, assert how fast."""

__version__ = "0.1.0"
