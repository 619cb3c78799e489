"""Payments: a Kafka topic of card payments to Delta tables, alerts and a dead-letter topic.

Run it with ``python -m bytewax.run flows.payments -r state``.
"""

from bytewax.dataflow import Dataflow

from flows.connecting import run
from flows.streams import PAYMENTS


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends; see `run`."""
    return run(PAYMENTS)
