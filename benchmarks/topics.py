"""Topics that benchmarks read: simulated records with every trouble, produced once."""

from pathlib import Path
from typing import Final

from flows.streams import PAYMENTS, Stream
from ops.simulate import (
    DeclaredParams,
    Params,
    Simulation,
    produce,
    simulate,
    simulate_declared,
)
from ops.topics import create_topic

PARTITIONS: Final = 4
EMPTY: Final = "empty"
"""A topic without records."""


def simulated(stream: Stream, events: int, keys: int) -> Simulation:
    """Return about so many records of a stream, of so many cards or other keys."""
    if stream.name == PAYMENTS.name:
        return simulate(Params(payments=events, customers=keys, partitions=PARTITIONS))
    return simulate_declared(
        stream, DeclaredParams(records=events, keys=keys, partitions=PARTITIONS)
    )


def fill(
    bootstrap: str, stream: Stream, events: int, keys: int, path: Path | None = None
) -> tuple[str, int]:
    """Make a stream's topic and an empty one; return its name and how many records it has.

    At a `path` they are left as an Arrow file, in the order in which they were produced.
    """
    made = simulated(stream, events, keys)
    if path is not None:
        made.records.write_ipc(path)
    for topic in (stream.name, EMPTY):
        create_topic(bootstrap, topic, PARTITIONS)
    produce(made, bootstrap, stream.name)
    return stream.name, len(made.records)
