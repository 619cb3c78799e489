"""What comes while a flow runs: payments, labels of some of them, changes of rules and lists."""

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from flows.settings import prefix_of
from flows.streams.labels import LABELS
from operators.connectors.kafka import control_topic
from ops.simulate import produce
from tests.chaos.changing import Changing, Record, rules_to_change
from tests.chaos.labelling import PARTITIONS as LABEL_PARTITIONS
from tests.chaos.labelling import Labelling
from tests.chaos.world import PARTITIONS, World, make
from tests.servers import kafka as kafka_server

_RATE: Final = 40
_EVERY: Final = 0.5
_CHANGES: Final = 0.7
_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class _Some:
    records: pl.DataFrame


def send(records: pl.DataFrame, bootstrap: str, topic: str) -> None:
    """Produce records to a topic, in order."""
    produce(_Some(records), bootstrap, topic)


class Feed:
    """Topics of its own, which payments, labels and changes are sent to for the length of a block.

    Before it there are labels alone.
    """

    def __init__(self, world: World, name: str, *, late: bool) -> None:
        """`name` is that of the topics and of the folder of rules; labels may be `late`."""
        self._bootstrap = world.bootstrap
        self._config = {"bootstrap.servers": world.bootstrap}
        self._luck = random.Random(world.luck.randrange(2**31))
        topic, rules = f"{world.topic}.{name}", world.folder / name
        self.topics = topic, f"{topic}.labels", f"{topic}.control"
        kafka_server.create_topic(world.bootstrap, topic, PARTITIONS)
        kafka_server.create_topic(world.bootstrap, self.topics[1], LABEL_PARTITIONS)
        control_topic.ensure(self._config, self.topics[2], _TIMEOUT)
        rules_to_change(rules)
        self.environ = {
            world.variable("topic"): topic,
            f"{prefix_of(LABELS)}TOPIC": self.topics[1],
            world.variable("control_topic"): self.topics[2],
            world.variable("rules"): str(rules),
        }
        made = make(world.stream, self._luck.randrange(2**31), world.records)
        self._records = made.records
        self._labelling = Labelling(self._luck, made, late=late)
        self._changing = Changing(self._luck, rules, made.events)
        self._label(self._labelling.before())
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(1)

    @property
    def ended(self) -> bool:
        """Whether all was sent."""
        return self._sending.done()

    def wait(self) -> None:
        """Wait until all was sent."""
        self._sending.result()

    def __enter__(self) -> Self:
        self._sending: Future[None] = self._executor.submit(self._send)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._executor.shutdown()
        self._sending.result()
        # Who reads all of it anew is to find nothing that has to be paused.
        self._change(self._changing.last())

    def _send(self) -> None:
        step = int(_RATE * _EVERY)
        for at in range(0, self._records.height, step):
            began = time.monotonic()
            send(self._records[at : at + step], self._bootstrap, self.topics[0])
            self._label(self._labelling.of(at, at + step))
            if self._luck.random() < _CHANGES:
                self._change(self._changing.next())
            if self._stop.wait(max(0.0, began + _EVERY - time.monotonic())):
                return

    def _label(self, labels: pl.DataFrame) -> None:
        send(labels, self._bootstrap, self.topics[1])

    def _change(self, record: Record) -> None:
        control_topic.send(self._config, self.topics[2], [record], _TIMEOUT)
