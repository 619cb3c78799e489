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
from ops.simulate.produce import Records
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
    create_topic(bootstrap, EMPTY, PARTITIONS)
    return stream.name, send(bootstrap, stream, made)


def send(bootstrap: str, stream: Stream, made: Records) -> int:
    """Make a stream's topic of what was made for it; return how many records it has."""
    create_topic(bootstrap, stream.name, PARTITIONS)
    produce(made, bootstrap, stream.name)
    return len(made.records)
