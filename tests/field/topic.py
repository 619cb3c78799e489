"""A topic of payments on Apache Kafka with the flows that read it, and what these wrote."""

import io
import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

import schemas
from ops.local import Stack
from tests import topics
from tests.running import Flow
from tests.servers import kafka

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Processes of a run share a broker, and a folder's name is cut: two may have the same.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_SCHEMA = fastavro.parse_schema(schemas.latest("payment"))
_FRAME = struct.pack(">bI", 0, schemas.local_id("payment", schemas.versions("payment")[-1]))


def payment(number: int, **fields: Any) -> bytes:
    """Return a good payment as its topic has it: a second after the one before, a new id."""
    values = {
        "payment_id": f"payment-{number}",
        "event_time": NOON + timedelta(seconds=number),
        "card_id": f"card-{number % 7}",
        "customer_id": "customer",
        "terminal_id": f"terminal-{number % 3}",
        "amount_minor": 1_000 + number,
        "currency": "EUR",
        "merchant_category": "5411",
        "country": "BE",
        "latitude": None,
        "longitude": None,
        "channel": "POS",
        "device_id": None,
        "recurring": False,
    }
    out = io.BytesIO(_FRAME)
    out.seek(len(_FRAME))
    fastavro.schemaless_writer(out, _SCHEMA, values | fields)
    return out.getvalue()


def payments(first: int, last: int, **fields: Any) -> list[bytes]:
    """Return the payments of these numbers, the last one included."""
    return [payment(number, **fields) for number in range(first, last + 1)]


class Field:
    """A topic, the settings of flows that read it, and a folder for what they write."""

    def __init__(self, stack: Stack, bootstrap: str, folder: Path) -> None:
        self.topic = f"{folder.name}{_WORKER}"
        self.folder, self.bootstrap = folder, bootstrap
        self.stack = stack
        self.settings = {
            **topics.settings(stack, self.topic, folder),
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        }

    def create(self, partitions: int = 1, **config: str) -> None:
        """Make the topic."""
        kafka.create_topic(self.bootstrap, self.topic, partitions, **config)

    def delete(self) -> None:
        """Delete the topic."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for done in admin.delete_topics([self.topic], operation_timeout=30).values():
            done.result(30)

    def send(self, *values: bytes | None, partition: int = 0, **config: str) -> None:
        """Send records; `config` are further settings of the producer."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, **config})
        for value in values:
            producer.produce(self.topic, value, partition=partition)
        assert producer.flush(30) == 0

    def flow(
        self, name: str = "payments", state: str = "state", *arguments: str, **settings: str
    ) -> Flow:
        """Start a flow; its recovery store is in the folder `state`, so is its log.

        `settings` are named without MILLSTREAM_, such as TOPIC.
        """
        own = {f"MILLSTREAM_{key}": value for key, value in settings.items()}
        return Flow(name, self.settings | own, self.folder / state, *arguments)

    def table(self, name: str, root: str = "tables") -> pl.DataFrame:
        """Return a table's rows, by their coordinates where it has them."""
        rows = pl.read_delta(DeltaTable(str(self.folder / root / name)))
        keys = [each for each in ("source_partition", "source_offset") if each in rows.columns]
        return rows.sort(keys) if keys else rows


def offsets(rows: pl.DataFrame, partition: int = 0) -> list[int]:
    """Return the offsets that a table has of a partition, each as often as it is there."""
    mine = rows.filter(pl.col("source_partition") == partition)
    return mine["source_offset"].sort().to_list()
