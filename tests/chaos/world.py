"""What all faults share: servers, one seeded topic with every trouble, the reference tables."""

import contextlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl
from confluent_kafka.admin import AdminClient
from redis import Redis as Client

from flows import settings as settings_
from flows.settings import Settings, prefix_of
from flows.streams import PAYMENTS, Stream
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
from tests.compare import Difference, read_tables, read_topic
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
        flow = self.flow("reference")
        flow.start(Shape(batch=20_000, epoch=10))
        codes = flow.wait(120)
        if codes != [0]:
            raise ChaosError(f"the undisturbed run ended with {codes}:\n{flow.said()}")
        report = self.verify(flow)
        if not report.ok:
            raise ChaosError(f"the undisturbed run is wrong: {report.to_json()}")
        return self._read(flow)

    def verify(self, flow: Flow) -> Report:
        """Run `millstream verify` on a flow's tables and topics."""
        return verify(self.settings(flow), self.folder / "truth.parquet")

    def settings(self, flow: Flow) -> Settings:
        """Return a flow's settings."""
        return settings_.load(flow.environ)

    def _read(self, flow: Flow) -> dict[str, pl.DataFrame]:
        settings = self.settings(flow)
        return read_tables(settings, self.stream.name) | {
            each: read_topic(settings, flow.environ[self.variable(each)])
            for each in self._outputs
        }

    def compare(self, flow: Flow, result: Result, *, topics: bool = True) -> None:
        """Compare a flow's tables and topics with the reference."""
        difference = Difference()
        actual = self._read(flow)
        for name, expected in self.reference.items():
            if topics or name not in self._outputs:
                difference.add(name, expected, actual[name])
        result.count(flow)
        result.compared(difference)

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

    def drop(self, flow: Flow, result: Result) -> None:
        """Remove what a flow wrote, unless something was wrong with it."""
        if result.problems:
            return
        shutil.rmtree(flow.folder, ignore_errors=True)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        names = [flow.environ[self.variable(each)] for each in self._outputs]
        for future in admin.delete_topics(names).values():
            with contextlib.suppress(Exception):
                future.result(10)


def make(stream: Stream, seed: int, records: int, partitions: int = PARTITIONS) -> Simulation:
    """Return the records of a topic with every trouble."""
    if stream is not PAYMENTS:
        params = DeclaredParams(
            records=records, seed=seed, partitions=partitions, keys=800, troubles=TROUBLES
        )
        return simulate_declared(stream, params)
    return simulate(
        Params(
            payments=records, seed=seed, partitions=partitions, customers=800, terminals=400,
            radius=10, troubles=TROUBLES,
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
