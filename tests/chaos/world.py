"""What all faults share: servers, one seeded topic with every trouble, the reference tables."""

import contextlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl
from confluent_kafka.admin import AdminClient
from redis import Redis as Client

from flows import settings as settings_
from flows.label_ends import labels_of
from flows.pipeline import named, topics
from flows.settings import Settings, prefix_of
from flows.streams import LABELS, PAYMENTS, Stream
from operators.connectors.delta.control_history import CONTROL
from operators.connectors.registry import schema_source as registry
from ops.simulate import (
    DeclaredParams,
    Params,
    Simulation,
    Troubles,
    produce,
    simulate,
    simulate_declared,
)
from ops.verify import Report, verify
from tests.chaos.flow import Flow, Shape
from tests.compare import Difference, read_table, read_tables, read_topic
from tests.servers import kafka as kafka_server
from tests.servers import redis as redis_server
from tests.topics import TO_THE_END

FOR_EVER: Final = dict.fromkeys(TO_THE_END, "false")
"""The settings of a flow that does not end by itself."""

PARTITIONS: Final = 4

TROUBLES: Final = Troubles(
    out_of_order=0.05, late=0.03, duplicate=0.05, malformed=0.01, truncated=0.01,
    truncated_frame=0.005, bad_magic=0.005, unknown_schema=0.01, bad_utf8=0.005, null=0.01,
    empty=0.005, contract=0.02,
)  # fmt: skip


class ChaosError(RuntimeError):
    """The flow did what no fault explains; the message has the end of its log."""


@dataclass
class Result:
    """What a fault's runs came to."""

    fault: str
    stream: str = PAYMENTS.name
    times: int = 0
    runs: int = 0
    commits: int = 0
    replays: int = 0
    fenced: int = 0
    rows: int = 0
    differences: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    detail: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Return what JSON can say."""
        # dataclasses.asdict makes a Counter of pairs of a Counter.
        return vars(self) | {"detail": dict(self.detail), "ok": self.ok}

    @property
    def ok(self) -> bool:
        """Tell whether every run was exact."""
        return self.differences == 0 and not self.problems

    def count(self, flow: Flow) -> None:
        """Add what a flow's processes noted."""
        flow.notes.update()
        self.runs += 1
        self.commits += flow.notes.commits
        self.replays += len(flow.notes.replays)
        self.fenced += flow.notes.fenced

    def compared(self, difference: Difference) -> None:
        """Add a comparison."""
        self.rows += difference.rows
        self.differences += difference.differences
        self.problems += difference.examples


class World:
    """Servers with a stream's topic on them, and what its flow makes of it undisturbed."""

    def __init__(
        self, folder: Path, bootstrap: str, redis: redis_server.Redis, seed: int, records: int,
        cluster: kafka_server.Kafka | None = None, largest: int = 3, stream: Stream = PAYMENTS,
    ) -> None:  # fmt: skip
        self.stream, self.records = stream, records
        self.folder, self.bootstrap, self.redis = folder, bootstrap, redis
        self.cluster, self.largest = cluster, largest
        self.seed, self.luck = seed, random.Random(seed)
        self.topic = f"{stream.name}-{os.getpid()}-{folder.name}"
        self._flows = 0
        registry.register("", {}, stream.record, self.topic)
        kafka_server.create_topic(bootstrap, self.topic, PARTITIONS)
        self.made = make(stream, seed, records)
        produce(self.made, bootstrap, self.topic)
        self.made.truth.write_parquet(folder / "truth.parquet")

    def of(self, stream: Stream) -> "World":
        """Return a world of another stream on the same servers; not for use at the same time."""
        folder = self.folder / stream.name
        folder.mkdir()
        return World(
            folder, self.bootstrap, self.redis, self.seed, self.records, self.cluster,
            self.largest, stream,
        )  # fmt: skip

    def variable(self, setting: str) -> str:
        """Return the variable of a setting of the stream."""
        return prefix_of(self.stream) + setting.upper()

    def environ(self, name: str, root: str | None = None) -> dict[str, str]:
        """Return the settings of a flow called `name`."""
        return {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "MILLSTREAM_REDIS_URL": self.redis.url,
            "MILLSTREAM_DELTA_ROOT": root or str(self.folder / name / "tables"),
            "CHAOS_STREAM": self.stream.name,
            # What stands still leaves its stacks in the log before it is given up.
            "MILLSTREAM_STALL_TIMEOUT": "90s",
            self.variable("topic"): self.topic,
            self.variable("consumer_group"): f"{self.topic}.{name}",
            **{self.variable(each): f"{self.topic}.{name}.{each}" for each in self._outputs},
            f"{prefix_of(LABELS)}DLQ_TOPIC": f"{self.topic}.{name}.labels_dlq",
            **TO_THE_END,
        }

    @property
    def _outputs(self) -> list[str]:
        """The settings of the topics that the flow writes."""
        found = ["dlq_topic", *(["alerts_topic"] if self.stream.rules else [])]
        return [*found, "decisions_topic"] if self.stream.decides else found

    def shape(self) -> Shape:
        """Draw how a flow is run, with up to `largest` processes."""
        return Shape.draw(self.luck, self.largest)

    def flow(self, label: str, root: str | None = None, **more: str) -> Flow:
        """Return a fresh flow: no tables, no recovery store, Redis without data."""
        self._flows += 1
        name = f"{self._flows:04}-{label.replace(' ', '-')}"
        with contextlib.closing(Client.from_url(self.redis.url)) as client:
            client.flushall()
        return Flow(self.folder / name, {**self.environ(name, root), **more})

    @cached_property
    def reference(self) -> dict[str, pl.DataFrame]:
        """The tables and topics of an undisturbed run, proven by `verify`."""
        return self.undisturbed()

    def undisturbed(self, **more: str) -> dict[str, pl.DataFrame]:
        """Return the tables and topics of an undisturbed run, proven by `verify`.

        `more` are settings; of other topics than the world's own no truth is known.
        """
        flow = self.flow("reference", **more)
        flow.start(Shape(batch=20_000, epoch=10))
        codes = flow.wait(120)
        if codes != [0]:
            raise ChaosError(f"the undisturbed run ended with {codes}:\n{flow.said()}")
        report = self.verify(flow)
        if not report.ok:
            raise ChaosError(f"the undisturbed run is wrong: {report.to_json()}")
        return self.read(flow)

    def verify(self, flow: Flow) -> Report:
        """Run `millstream verify` on a flow's tables and topics."""
        own = flow.environ[self.variable("topic")] == self.topic
        return verify(self.settings(flow), self.folder / "truth.parquet" if own else None)

    def settings(self, flow: Flow) -> Settings:
        """Return a flow's settings."""
        return settings_.load(flow.environ)

    def _sent_to(self, flow: Flow) -> list[str]:
        """Return the topics that a flow sends to."""
        settings = self.settings(flow)
        labels = labels_of(settings.stream(self.stream))
        own = named(topics(self.stream, settings.of(self.stream)))
        return [*own, *(settings.of(each).dlq_topic for each in labels)]

    def read(self, flow: Flow) -> dict[str, pl.DataFrame]:
        """Return the tables and topics that a flow wrote, by name."""
        settings = self.settings(flow)
        found = read_tables(settings, self.stream.name)
        for each in labels_of(settings.stream(self.stream)):
            found |= read_tables(settings, each.name)
            found[each.silver.name] = _from_when(found[each.silver.name])
        if settings.of(self.stream).control_topic is not None:
            found[CONTROL.name] = read_table(settings, CONTROL)
        # By what it is: each flow has topics of its own.
        sent = self._sent_to(flow)
        return found | {each.rpartition(".")[2]: read_topic(settings, each) for each in sent}

    def compare(self, flow: Flow, result: Result, *, topics: bool = True) -> None:
        """Compare a flow's tables and topics with the reference."""
        expected = {n: each for n, each in self.reference.items() if topics or "/" in n}
        result.count(flow)
        result.compared(Difference.of(expected, self.read(flow)))

    def finish(
        self, flow: Flow, result: Result, shape: Shape | None = None, **chaos: str
    ) -> bool:
        """Run a flow to its end without faults; notes a problem where that fails."""
        flow.start(shape or self.shape(), **chaos)
        codes = flow.wait(180)
        if codes is None:
            flow.kill()
        if codes is None or any(codes):
            result.problems.append(f"ended with {codes}: {flow.said()}")
            return False
        return True

    def drop(self, flow: Flow, result: Result, read: Iterable[str] = ()) -> None:
        """Remove what a flow wrote, and topics that it read, unless something was wrong."""
        if result.problems:
            return
        shutil.rmtree(flow.folder, ignore_errors=True)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for future in admin.delete_topics([*self._sent_to(flow), *read]).values():
            with contextlib.suppress(Exception):
                future.result(10)


def _from_when(labels: pl.DataFrame) -> pl.DataFrame:
    """Return labels with from when each counts, in place of what the flow had come to by then."""
    since = pl.max_horizontal("event_time", "watermark", "woken_at").alias("since")
    return labels.with_columns(since).drop("woken_at")


def make(
    stream: Stream,
    seed: int,
    records: int,
    partitions: int = PARTITIONS,
    troubles: Troubles = TROUBLES,
) -> Simulation:
    """Return the records of a topic, with every trouble unless others are given."""
    if stream is not PAYMENTS:
        params = DeclaredParams(
            records=records, seed=seed, partitions=partitions, keys=800, troubles=troubles
        )
        return simulate_declared(stream, params)
    return simulate(
        Params(
            payments=records, seed=seed, partitions=partitions, customers=800, terminals=400,
            radius=10, troubles=troubles,
        )
    )  # fmt: skip


@contextlib.contextmanager
def world(
    folder: Path, seed: int, records: int, brokers: int = 1, largest: int = 3
) -> Iterator[World]:
    """Run a world of payments for the length of a block; of several brokers some can be killed.

    Flows are run with up to `largest` processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        cluster = None
        if brokers > 1:
            cluster = stack.enter_context(kafka_server.kafka(folder / "kafka", brokers))
            servers = cluster.bootstrap
        else:
            servers = stack.enter_context(kafka_server.bootstrap(folder / "kafka"))
        redis = stack.enter_context(redis_server.redis(folder))
        yield World(folder, servers, redis, seed, records, cluster, largest)
