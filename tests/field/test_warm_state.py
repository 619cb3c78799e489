"""A flow that has lost its state: tables bring it, and nobody can tell that it was gone.

Its tables are compared with those of a flow that was never interrupted and read the same topic.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from flows import settings as settings_
from flows.settings import PREFIX
from ops.local import start_redis
from ops.simulate import Params, produce, simulate
from tests import topics
from tests.compare import Difference, read_tables, read_topic
from tests.field.topic import Field
from tests.running import Flow, run
from tests.servers.ports import lasting_port

PARTITIONS = 3
STOP = {f"{PREFIX}STOP_AT_END": "true"}
DONE = "operators.connectors.warm_source.WarmSource.done"


@dataclass(frozen=True)
class Part:
    """Some of a topic's records, in order."""

    records: pl.DataFrame


class Break:
    """A topic of which a flow and an uninterrupted one have read the first half."""

    def __init__(self, field: Field) -> None:
        self.folder, self.topic, self.bootstrap = field.folder, field.topic, field.bootstrap
        self.settings = dict(field.settings)
        # The same topic, and nothing else in common.
        self.whole = self.settings | {
            f"{PREFIX}DELTA_ROOT": str(field.folder / "whole" / "tables"),
            f"{PREFIX}ALERTS_TOPIC": f"{self.topic}.whole.alerts",
            f"{PREFIX}DECISIONS_TOPIC": f"{self.topic}.whole.decisions",
            f"{PREFIX}DLQ_TOPIC": f"{self.topic}.whole.dlq",
            f"{PREFIX}CONSUMER_GROUP": "whole",
        }
        made = simulate(
            Params(
                payments=12_000,
                customers=150,
                terminals=60,
                partitions=PARTITIONS,
                seed=8,
                days=1,
            )
        )
        half = len(made.records) // 2
        self.halves = [Part(made.records[:half]), Part(made.records[half:])]
        field.create(PARTITIONS)
        produce(self.halves[0], self.bootstrap, self.topic)
        for environ, place in self.both():
            run("payments", environ | STOP, place)

    def both(self) -> list[tuple[Mapping[str, str], Path]]:
        return [(self.whole, self.folder / "whole"), (self.settings, self.folder)]

    def expire(self) -> None:
        """Delete all records, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        places = [TopicPartition(self.topic, p, OFFSET_END) for p in range(PARTITIONS)]
        for done in admin.delete_records(places).values():
            done.result(30)

    def lose_state(self) -> None:
        shutil.rmtree(self.folder / "payments")

    def undo_newest(self, table: str) -> bool:
        """Take a table's commit of the newest epoch back, if it has one; tell whether it had."""
        newest = {}
        for name in ("bronze/payments", table):
            handle = DeltaTable(self.folder / "tables" / name)
            told = json.loads(handle.history(1)[0]["userMetadata"])
            newest[name] = told["run"], told["epoch"]
            log = handle.version()
        there = newest[table] == newest["bronze/payments"]
        if there:
            (self.folder / "tables" / table / "_delta_log" / f"{log:020}.json").unlink()
        return there

    def run_two(self, environ: Mapping[str, str]) -> str:
        """Run the flow to its end in two processes; return what they have said."""
        addresses = f"127.0.0.1:{lasting_port()};127.0.0.1:{lasting_port()}"
        flows = []
        for number in ("0", "1"):
            arguments = ("-i", number, "-a", addresses, "-r", str(self.folder / "payments"))
            flows.append(Flow("payments", environ, self.folder / number, *arguments))
        for flow in flows:
            assert flow.wait() == 0, flow.said()
        return "".join(flow.said() for flow in flows)

    def go_on(self) -> None:
        """Let the second half come, and have the uninterrupted flow read it."""
        produce(self.halves[1], self.bootstrap, self.topic)
        run("payments", self.whole | topics.TO_THE_END, self.folder / "whole")

    def compare(self) -> None:
        expected, actual = (settings_.load(dict(each)) for each, _ in self.both())
        found = Difference()
        there = read_tables(actual)
        for name, rows in read_tables(expected).items():
            # No record is of another schema.
            assert rows.height or name == "gold/schema_drift", name
            found.add(name, rows, there[name])
        for kind in ("alerts_topic", "decisions_topic", "dlq_topic"):
            each = (read_topic(s, getattr(s, kind)) for s in (expected, actual))
            found.add(kind, *each)
        assert found.rows > 10_000
        assert (found.differences, found.examples) == (0, [])


def test_what_neither_topic_nor_redis_nor_recovery_store_has_the_tables_bring(
    field: Field,
) -> None:
    """Also if the flow is killed amidst, in other numbers of workers, and then of processes."""
    broken_off = Break(field)
    broken_off.lose_state()
    undone = [broken_off.undo_newest(table) for table in ("gold/alerts", "gold/late")]
    assert any(undone)
    broken_off.expire()
    broken_off.go_on()
    with start_redis() as empty:
        # Many batches, and partitions that wait for each other.
        small = {f"{PREFIX}BATCH_SIZE": "300", f"{PREFIX}ALIGNMENT": "5ms"}
        environ = broken_off.settings | small | {f"{PREFIX}REDIS_URL": empty}
        # Two of the partitions have no more to tell by then, and the third is on its way.
        flow = Flow("payments", environ, field.folder, "-w", "2", at=f"{DONE}:kill")
        assert flow.wait() == -9, flow.said()
        said = broken_off.run_two(environ | topics.TO_THE_END)
    broken_off.compare()
    assert "rows of silver/payments are read first" in said
    assert (
        "rows of silver/payments have been read, and what follows is read from the topic"
        in said
    )
