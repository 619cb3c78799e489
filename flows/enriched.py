"""Enriched: payments with their customer and their terminal as of then, to a Delta table.

Run it with ``python -m bytewax.run flows.enriched -r state-enriched``.
"""

from bytewax.dataflow import Dataflow

from flows.enriching import run
from flows.streams import ENRICHED


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends; see `run`."""
    return run(ENRICHED)
