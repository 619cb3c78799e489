"""Clicks: a Kafka topic of clicks to Delta tables, alerts and a dead-letter topic.

Run it with ``python -m bytewax.run flows.clicks -r state-clicks``.
"""

from bytewax.dataflow import Dataflow

from flows.connecting import run
from flows.streams import CLICKS


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends; see `run`."""
    return run(CLICKS)
