"""Bad records that are repaired and sent again: the tables of a run where they had been good."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import orjson
import polars as pl
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

import schemas
from flows.streams import PAYMENTS, Stream
from operators.avro.explain import Explainer
from operators.connectors.kafka.client import end_offsets
from operators.records.tables import COORDINATES
from operators.windows.open_windows import newest
from tests.chaos.faults.processes import kill_at
from tests.chaos.faults.watching import count, tended
from tests.chaos.feed import send
from tests.chaos.flow import ROOT, Flow, Shape
from tests.chaos.spoilt import MENDS, spoil
from tests.chaos.tool import APPROVE_POINTS, EDIT_POINTS, OFTEN_PASSED, REPLAY_POINTS
from tests.chaos.worker import POINTS
from tests.chaos.world import FOR_EVER, PARTITIONS, Result, World
from tests.compare import Difference
from tests.servers import kafka as kafka_server
from tests.topics import TO_THE_END

_AT_END: Final = {**TO_THE_END, "MILLSTREAM_CLOSE_WINDOWS_AT_END": "false"}
_TIMEOUT: Final = 60.0
_SENDING: Final = OFTEN_PASSED[::-1]
_POINTS: Final = (
    *_SENDING, *(each for each in REPLAY_POINTS if each not in _SENDING),
    *EDIT_POINTS, *APPROVE_POINTS, *POINTS,
)  # fmt: skip
"""All points of a round; of few kills those that come first."""
_own: Final = {
    schemas.local_id(PAYMENTS.record, each): schemas.load(PAYMENTS.record, each)
    for each in schemas.versions(PAYMENTS.record)
}
_OF_PLACE: Final = (*COORDINATES, "kafka_timestamp", "watermark", "alert_id", "decision_id")
"""Columns that say where and when a record came, which of one that is sent again is elsewhere."""


def repaired(world: World, result: Result, times: int) -> None:
    """Records broken, quarantined, edited, approved and replayed, all of it killed on its way."""
    while result.times < times and not result.problems:
        _OfPayments(world, result, times - result.times).run()


class Round(ABC):
    """A round: half of the records, repairs of what was refused, the other half, a comparison."""

    points: tuple[str, ...] = _POINTS
    reads: tuple[str, ...] = POINTS

    def __init__(self, world: World, result: Result, kills: int) -> None:
        self._world, self._result = world, result
        number = result.runs
        self._retention = number % 2 == 0
        """Whether the topic loses all that the flow has read; else the flow runs meanwhile."""
        self._late = number // 2 % 2 == 1
        """Whether what is sent again is late, and windows open once more for it."""
        self._topics = [self.named(f"{name}{number}") for name in ("bad", "good")]
        for each in self._topics:
            kafka_server.create_topic(world.bootstrap, each, PARTITIONS)
        self._chosen = {*self.points[:kills]}
        self._flow = self.make()

    def named(self, name: str) -> str:
        """Return a topic of the round."""
        return f"{self._world.topic}.{name}"

    @property
    def stream(self) -> Stream:
        """What the flow reads."""
        return self._world.stream

    @abstractmethod
    def make(self) -> Flow:
        """Make the records, and return the flow that is to read them."""

    @abstractmethod
    def send(self, half: int) -> None:
        """Send a half of the records as they come."""

    @abstractmethod
    def edits(self) -> Iterator[list[str]]:
        """Yield commands that make what was refused good."""

    @abstractmethod
    def compare(self) -> None:
        """Compare with a run in which the records had been good from the start."""

    def drop(self) -> None:
        """Remove what was written, unless something was wrong."""
        self._world.drop(self._flow, self._result, self._topics)

    def run(self) -> None:
        """Do all of it, and compare."""
        world, result, flow = self._world, self._result, self._flow
        with tended(world, flow, result, self.stream):
            self.send(0)
            self._read(self.reads[::2])
            if self._retention:
                self._delete()
            self._mend()
            self.send(1)
            flow.environ |= TO_THE_END
            self._read(self.reads[1::2])
        if not result.problems:
            self.compare()
        self.drop()

    which: tuple[str, ...] = ()
    """What commands say of which stream they mean."""

    def _passed(self, point: str) -> None:
        self._result.times += 1
        count(self._result, f"at: {point}")

    def _read(self, points: Iterable[str]) -> None:
        """Run the flow to the topic's end, killed at those of the points that were chosen."""
        luck = self._world.luck
        for point in points:
            if point not in self._chosen or self._result.problems:
                continue
            shape = replace(self._world.shape(), batch=20, epoch=0.1)
            ended = kill_at(self._flow, shape, point, luck, most=3)
            if ended == "finished":
                count(self._result, "read before its point")
            elif ended == "killed":
                self._passed(point)
            else:
                self._result.problems.append(f"{point}: {ended}")
        if not self._result.problems:
            self._world.finish(self._flow, self._result, Shape())

    def _delete(self) -> None:
        """Have the topic lose all that it has, as retention does."""
        config = {"bootstrap.servers": self._world.bootstrap}
        topic = self._topics[0]
        ends = end_offsets(config, topic, range(PARTITIONS), _TIMEOUT)
        places = [TopicPartition(topic, each, end) for each, end in ends.items()]
        admin = AdminClient(config)
        for done in admin.delete_records(places).values():
            done.result(_TIMEOUT)
        count(self._result, "retention")

    def _mend(self) -> None:
        """Edit what is spoilt, have another user approve it, and send it again."""
        for each in self.edits():
            self._until_done("eva", each, EDIT_POINTS)
        meant = ("list", "--where", "edit IS NOT NULL", "--limit", "1000", *self.which)
        edits = {each["edit"] for each in self._told("eva", *meant)}
        for each in sorted(edits):
            self._until_done("ben", ["approve", each, "--save"], APPROVE_POINTS)
        with self._running():
            self._until_done(
                "eva", ["replay", "--send", "--why", "mended", *self.which], REPLAY_POINTS
            )

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Run the flow meanwhile, unless it is to have read all before; it is killed then."""
        if not self._retention:
            self._flow.environ |= FOR_EVER
            self._flow.start(self._world.shape())
        yield
        self._flow.kill()
        self._flow.environ |= _AT_END

    def _until_done(self, user: str, command: list[str], points: Iterable[str]) -> None:
        """Run a command that is killed at those of the points that were chosen, and then is not."""
        luck = self._world.luck
        for point in points:
            if point not in self._chosen or self._result.problems:
                continue
            nth = luck.randint(1, 3) if point in OFTEN_PASSED else 1
            done = self._tool(user, command, f"{point}:{nth}")
            if done.returncode != -signal.SIGKILL:
                self._result.problems.append(f"{point}: not killed: {done}")
                return
            self._chosen.discard(point)
            self._passed(point)
            if self._retention and point == "between two transactions":
                # What was sent is read, and kept for no longer than that.
                self._read([])
                self._delete()
            elif not self._retention and command[0] == "replay":
                if not self._flow.running():
                    self._result.problems.append(f"the flow has ended: {self._flow.said()}")
                self._flow.kill()
                self._flow.start(self._world.shape())
        if not self._result.problems:
            self._told(user, *command)

    def _told(self, user: str, *command: str) -> Any:
        done = self._tool(user, [*command, "--json"])
        # An edit that finds all of it saved has nothing to save, and says so by its status.
        if done.returncode not in ((0, 1) if command[0] == "edit" else (0,)):
            self._result.problems.append(str(done))
            return []
        return json.loads(done.stdout)

    def _tool(
        self, user: str, command: list[str], point: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tests.chaos.tool", "dlq", *command],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("MILLSTREAM_")},
                **self._flow.environ, "PYTHONPATH": str(ROOT), "LOGNAME": user,
                "CHAOS_POINT": point, "CHAOS_NOTES": str(self._flow.notes.path),
            },
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


class _OfPayments(Round):
    def make(self) -> Flow:
        world = self._world
        self._made = spoil(world.luck.randrange(2**31), world.records)
        bound = "allowed_lateness" if self._late else "out_of_orderness"
        # What nobody sends to while the tool is at work is not to be taken for idle.
        more = {bound: "12h", "idle_timeout": "1h"}
        self._more = {world.variable(name): value for name, value in more.items()}
        topic = {world.variable("topic"): self._topics[0]}
        return world.flow("letters", **topic, **self._more, **_AT_END)

    def send(self, half: int) -> None:
        self._send(self._made.bad[half], self._topics[0])

    def edits(self) -> Iterator[list[str]]:
        save = ["--save", "--why", "an old terminal"]
        explainer = Explainer(_own.__getitem__)
        for row in self._made.cut:
            # What does not decode somebody who knows it writes anew.
            (found,) = explainer.explain([self._made.good[0]["value"][row]], [None])
            file = self._flow.folder / f"{row}.json"
            file.write_bytes(orjson.dumps(found.record))
            place = "/".join(map(str, (self._topics[0], *self._made.place_of(row))))
            yield ["edit", place, "--as", str(file), *save]
        edit = ["edit", "--stage", "contract", *save]
        for each in MENDS:
            edit += ["--set", each]
        yield edit

    def compare(self) -> None:
        world, result = self._world, self._result
        for half in self._made.good:
            self._send(half, self._topics[1])
        good = {world.variable("topic"): self._topics[1], **self._more}
        actual = world.read(self._flow)
        both = [self._of_events(each) for each in (world.undisturbed(**good), actual)]
        result.count(self._flow)
        result.compared(Difference.of(*both))
        refused = actual["quarantine/payments"].height
        if refused != self._made.count:
            result.problems.append(f"{refused} rejects of {self._made.count}")
        report = world.verify(self._flow)
        if not report.ok:
            result.problems.append(f"verify: {report.to_json()}"[:2000])

    def _of_events(self, tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Return what tables have of events, wherever and whenever their records came."""
        found = {each: tables[each].drop(_OF_PLACE, strict=False) for each in _COMPARED}
        for name, windows in PAYMENTS.windows.items():
            table = PAYMENTS.window_table(name).name
            found[table] = newest(found[table], windows).drop("revision")
        if self._late:
            # What is made of features is, of what is late, as of what was kept until then.
            found[PAYMENTS.silver.name] = tables[PAYMENTS.silver.name].select(*PAYMENTS.fields)
            del found[PAYMENTS.alerts.name], found[PAYMENTS.decisions.name]
        return found

    def _send(self, records: pl.DataFrame, topic: str) -> None:
        send(records, self._world.bootstrap, topic)


_COMPARED: Final = {
    each.name
    for each in (
        PAYMENTS.silver, PAYMENTS.duplicates, PAYMENTS.alerts, PAYMENTS.decisions, PAYMENTS.late,
        *map(PAYMENTS.window_table, PAYMENTS.windows),
    )
}  # fmt: skip
"""The tables of events: the others are of records, those that were refused too, or of when they
came."""
