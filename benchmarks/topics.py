"""Topics that benchmarks read: simulated records with every trouble, produced once."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flows.streams import PAYMENTS, Stream
from ops.local import start_broker
from ops.simulate import (
    DeclaredParams,
    Params,
    Simulation,
    Troubles,
    produce,
    simulate,
    simulate_declared,
)
from ops.simulate.produce import Records
from ops.topics import create_topic
from tests.servers import kafka

PARTITIONS: Final = 4
EMPTY: Final = "empty"
"""A topic without records."""


@contextlib.contextmanager
def brokers() -> Iterator[str]:
    """Run Apache Kafka where there is Java and Maven, else the local broker; yield its address.

    The latter takes longer to hand a record on the more of them it has.
    """
    if kafka.missing():
        with start_broker() as local:
            yield local
        return
    with tempfile.TemporaryDirectory() as folder, kafka.bootstrap(Path(folder)) as apache:
        yield apache


def simulated(
    stream: Stream, events: int, keys: int, troubles: Troubles | None = None
) -> Simulation:
    """Return about so many records of a stream, of so many cards or other keys."""
    every: dict[str, Any] = {"partitions": PARTITIONS, "troubles": troubles or Troubles()}
    if stream.name == PAYMENTS.name:
        return simulate(Params(payments=events, customers=keys, **every))
    return simulate_declared(stream, DeclaredParams(records=events, keys=keys, **every))


def fill(
    bootstrap: str,
    stream: Stream,
    events: int,
    keys: int,
    path: Path | None = None,
    *,
    topic: str | None = None,
    troubles: Troubles | None = None,
) -> tuple[str, int]:
    """Make a stream's topic and an empty one; return its name and how many records it has.

    At a `path` they are left as an Arrow file, in the order in which they were produced. `topic`
    is another name for it, `troubles` are others than the simulator's.
    """
    topic = topic or stream.name
    made = simulated(stream, events, keys, troubles)
    if path is not None:
        made.records.write_ipc(path)
    create_topic(bootstrap, EMPTY, PARTITIONS)
    return topic, send(bootstrap, topic, made)


def send(bootstrap: str, topic: str, made: Records) -> int:
    """Make a topic of what was made for it; return how many records it has."""
    create_topic(bootstrap, topic, PARTITIONS)
    produce(made, bootstrap, topic)
    return len(made.records)
