"""Customers: a Kafka topic of their changes to Delta tables and a dead-letter topic.

Run it with ``python -m bytewax.run flows.customers -r state-customers``.
"""

from bytewax.dataflow import Dataflow

from flows.connecting import run
from flows.streams import CUSTOMERS


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends; see `run`."""
    return run(CUSTOMERS)
