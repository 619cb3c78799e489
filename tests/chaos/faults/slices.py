"""The enforce flow in slices: each is killed by itself while all write the same tables."""

import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import polars as pl
from confluent_kafka import Producer

from flows.enforced.loading import load
from operators.connectors.kafka.client import read_to_end
from tests.chaos.faults.processes import NOT_PASSED, kill_at, kill_some_time
from tests.chaos.faults.watching import GIVE_UP, count
from tests.chaos.flow import ROOT, Flow, Shape
from tests.chaos.maintenance import Maintenance
from tests.chaos.worker import FORWARD_POINTS, POINTS
from tests.chaos.world import PARTITIONS, ChaosError, Result, World
from tests.compare import Difference, read_table, read_topic
from tests.flows.enforced import Sent, declare, records
from tests.servers import kafka as kafka_server
from tests.topics import TO_THE_END

_POINTS: Final = (*FORWARD_POINTS, *(each for each in POINTS if each != "mid dedup call"))
_COUNTS: Final = (2, 3, 4)
_EACH: Final = 4
"""How often a slice of a round is killed at most."""


def kill(world: World, result: Result, times: int) -> None:
    """`kill -9` of slices at random times and points; then all is as one process makes it."""
    topics = _Topics(world)
    expected = topics.undisturbed()
    while result.times < times and not result.problems:
        slices = _COUNTS[result.runs % len(_COUNTS)]
        each = min(_EACH, -(-(times - result.times) // slices))
        run = topics.run(f"slices{result.runs}")
        with ExitStack() as stack:
            upkeep = [
                stack.enter_context(Maintenance(topic, run.root, world.luck.randrange(2**31)))
                for topic in load(run.environ).topics
            ]
            pool = stack.enter_context(ThreadPoolExecutor(slices))
            seeds = [world.luck.randrange(2**31) for _ in range(slices)]
            runs = [
                pool.submit(_slice, run, f"{number}/{slices}", each, result, seed)
                for number, seed in enumerate(seeds)
            ]
            result.problems += [problem for each_ in runs for problem in each_.result()]
        count(result, "maintenance", sum(sum(u.done.values()) for u in upkeep))
        count(result, f"of {slices} slices")
        result.runs += 1
        if not result.problems:
            result.compared(Difference.of(expected, run.read()))
            result.problems += run.verified()
        if not result.problems:
            shutil.rmtree(run.folder)


def _slice(run: "Run", which: str, kills: int, result: Result, seed: int) -> list[str]:
    """Kill a slice some times, and let it come to its end; returns what was wrong."""
    luck = random.Random(seed)
    flow = Flow(run.folder / which[0], {**run.environ, "MILLSTREAM_SLICE": which})
    points = luck.sample(_POINTS, len(_POINTS))
    for number in range(kills):
        shape = replace(Shape.draw(luck, 2), batch=luck.choice([20, 50]))
        if number % 2 == 0:
            how = points.pop()
            ended = kill_at(flow, shape, how, luck, most=6, patience=60)
        else:
            how, ended = "a random time", kill_some_time(flow, shape, luck)
        if ended in ("finished", NOT_PASSED):
            count(result, f"{ended} before")
            continue
        if ended != "killed":
            return [f"slice {which}, at {how}, {shape}: {ended}"]
        result.times += 1
        count(result, f"at: {how}")
    flow.start(Shape.draw(luck, 2))
    codes = flow.wait(GIVE_UP)
    flow.kill()
    result.commits += flow.notes.commits
    result.replays += len(flow.notes.replays)
    result.fenced += flow.notes.fenced
    return [] if codes and not any(codes) else [f"slice {which}: {codes}: {flow.said()}"]


class _Topics:
    """Three topics of records good and bad, Avro and JSON."""

    def __init__(self, world: World) -> None:
        self._world, self._name = world, f"{world.topic}.enforced"
        every = records(world.records)
        for name in every:
            kafka_server.create_topic(world.bootstrap, f"{self._name}.{name}", PARTITIONS)
        _send(world.bootstrap, self._name, every)

    def run(self, label: str) -> "Run":
        """Return a run of the flow on them, with tables and topics of its own."""
        return Run(self._world, self._name, label)

    def undisturbed(self) -> dict[str, pl.DataFrame]:
        """Return what one whole process makes of them, proven by `verify`."""
        run = self.run("whole")
        flow = Flow(run.folder / "0", run.environ)
        flow.start(Shape(batch=20_000, epoch=10))
        codes = flow.wait(GIVE_UP)
        if codes != [0] or (wrong := run.verified()):
            raise ChaosError(f"the undisturbed run: {codes}, {wrong}: {flow.said()}")
        return run.read()


class Run:
    """A run of the enforce flow on topics that are there, with tables and topics of its own."""

    def __init__(self, world: World, topic: str, label: str) -> None:
        self.folder = world.folder / label
        self.root, self.declared = str(self.folder / "tables"), self.folder / "enforced"
        declare(self.declared, topic)
        for contract in self.declared.glob("*/contract.yaml"):
            own, text = f"{topic}.{label}.{contract.parent.name}", contract.read_text()
            if "validated:" not in text:
                text += f"validated: {own}.validated\n"
            contract.write_text(f"{text}dlq: {own}.dlq\n")
        self.environ = {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": world.bootstrap,
            "MILLSTREAM_DELTA_ROOT": self.root,
            "MILLSTREAM_ENFORCE_FOLDER": str(self.declared),
            "MILLSTREAM_STALL_TIMEOUT": "90s",
            "CHAOS_STREAM": "enforce",
            **{k: v for k, v in TO_THE_END.items() if "STOP" in k},
        }

    def read(self) -> dict[str, pl.DataFrame]:
        """Return tables and topics; of what was sent on also places and times."""
        loaded = load(self.environ)
        found = {}
        for topic in loaded.topics:
            for table in topic.all_tables:
                found[table.name] = read_table(loaded.settings, table)
            found[f"{topic.name} dlq"] = read_topic(loaded.settings, topic.dlq)
            if topic.validated is not None:
                there = _as_they_came(loaded.settings.kafka, topic.validated)
                found[f"{topic.name} validated"] = there
        return found

    def verified(self) -> list[str]:
        """Return what `millstream verify` finds wrong."""
        return verified(self.environ)


def verified(settings: dict[str, str]) -> list[str]:
    """Return what `millstream verify` finds wrong of a flow with some settings."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MILLSTREAM_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.tool", "verify", "--json"],
        env={**environ, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    return [f"verify: {done.returncode}: {done.stdout[-2000:]} {done.stderr[-500:]}"]


def _as_they_came(config: dict[str, str], topic: str) -> pl.DataFrame:
    ends = dict.fromkeys(range(PARTITIONS), 0)
    found: list[list[tuple[object, ...]]] = [[] for _ in ends]
    for m in read_to_end(config, topic, ends):
        headers = repr(m.headers())
        mine = found[m.partition()]
        mine.append((m.partition(), len(mine), m.key(), m.value(), m.timestamp()[1], headers))
    schema = {
        "partition": pl.Int64(), "place": pl.Int64(), "key": pl.Binary(),
        "value": pl.Binary(), "time": pl.Int64(), "headers": pl.String(),
    }  # fmt: skip
    return pl.DataFrame([row for rows in found for row in rows], schema, orient="row")


def _send(bootstrap: str, topic: str, every: Sent) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    # Over some minutes of Kafka's time, which are counted one by one.
    first = int(time.time() * 1000) - 3_600_000
    for name, mine in every.items():
        for n, (key, value, headers) in enumerate(mine):
            producer.produce(
                f"{topic}.{name}", value, key, n % PARTITIONS,
                timestamp=first + n * 500, headers=headers or [],
            )  # fmt: skip
        producer.flush(60)
