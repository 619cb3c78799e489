"""Kafka: the source, the sinks of messages, and what is asked of brokers."""
