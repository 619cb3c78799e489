"""Enforcing: events per CPU-second of the whole flow, by format and share of bad records.

And, with --delay, how long an event takes to its consumer of the validated topic, at 10,000
events/s on the local broker.
"""

import argparse
import io
import json
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np
import orjson
from confluent_kafka import Producer, TopicPartition

import schemas
from benchmarks import ENVIRON
from benchmarks.figures import add_json, show
from benchmarks.runs import ROOT, Code, run_alone
from flows.environment import ENFORCE_PREFIX, PREFIX
from operators.connectors.kafka.client import consumer
from ops.local import start_broker
from ops.topics import create_topic

_PARTITIONS: Final = 4
_WARM_MS: Final = 2_000
_SHARES: Final = (0.0, 0.01, 0.5)
NAME: Final = "events"
_STATED: Final = {
    "json": "version: {field: _schema_version}\n",
    "avro": "",
    "json-avro": "written: json\n",
}
_CHECKS: Final = "checks: [{code: amount_range, field: amount, range: [0, 100000]}]\n"
_FIELDS: Final = ("order_id", "customer_id", "terminal_id", "currency", "status", "country")
_AVRO: Final[dict[str, Any]] = {
    "type": "record",
    "name": "events",
    "fields": [
        *({"name": name, "type": "string"} for name in _FIELDS),
        {"name": "ordered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "quantity", "type": "int"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
_JSON: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": [*_FIELDS, "ordered_at", "amount", "quantity"],
    "additionalProperties": False,
    "properties": {
        "_schema_version": {"type": "integer"},
        **{name: {"type": "string", "maxLength": 64} for name in _FIELDS},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "ordered_at": {"type": "string", "format": "date-time"},
        "amount": {"type": "number", "minimum": 0},
        "quantity": {"type": "integer", "minimum": 1},
        "note": {"type": ["string", "null"]},
    },
}


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``enforce``."""
    parser = subparsers.add_parser(
        "enforce", help="events per CPU-second of flows.enforce", description=__doc__
    )
    parser.add_argument("--events", type=int, default=400_000, metavar="N")
    parser.add_argument("--epoch", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--format", choices=tuple(_STATED), action="append", dest="formats")
    parser.add_argument(
        "--delay", type=int, metavar="SECONDS", help="the time at a steady rate, instead"
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    found: dict[str, float] = {}
    for name in args.formats or _STATED:
        if args.delay:
            found |= delay(name, 10_000, args.delay, args.epoch)
            continue
        for share in _SHARES:
            found[f"{name} {share:.0%} bad"] = rate(name, share, args.events, args.epoch)
    show(found, args.json)


def rate(name: str, share: float, events: int, epoch: int) -> float:
    """Return how many events a CPU-second of the flow takes, its start left out."""
    with start_broker() as bootstrap, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        folder = Path(work, "enforced")
        declare(folder, name)
        send(bootstrap, records(name, events, share))
        create_topic(bootstrap, "empty", _PARTITIONS)
        took = [_cpu(bootstrap, Path(work), folder, topic, epoch) for topic in (NAME, "empty")]
        return round(events / (took[0] - took[1]))


def declare(folder: Path, name: str, topic: str | None = None) -> None:
    """Write the files of the topic in a format; it has the name of their folder, or another."""
    mine = folder / NAME
    mine.mkdir(parents=True)
    kind, schema = ("json", _JSON) if name == "json" else ("avsc", _AVRO)
    (mine / f"1.{kind}").write_text(json.dumps(schema))
    named = f"topic: {topic}\n" if topic is not None else ""
    (mine / "contract.yaml").write_text(named + _STATED[name] + _CHECKS)


def records(name: str, events: int, share: float) -> list[bytes]:
    """Return events of a format, of which a share is bad, in one of three ways."""
    chance = random.Random(7)
    encode = _encoder(name)
    return [encode(n, chance, chance.random() < share) for n in range(events)]


def _encoder(name: str) -> Callable[[int, random.Random, bool], bytes]:
    parsed = fastavro.parse_schema(_AVRO)
    frame = struct.pack(">bI", 0, schemas.local_id(NAME, 1))

    def encode(n: int, chance: random.Random, bad: bool) -> bytes:
        way = n % 3 if bad else 3
        record: dict[str, Any] = {
            "order_id": f"order-{n}",
            "customer_id": f"customer-{chance.randrange(100_000)}",
            "terminal_id": f"terminal-{chance.randrange(10_000)}",
            "currency": "EUR",
            "status": "NEW",
            "country": "BE",
            "ordered_at": 1_772_366_400_000_000 + n * 1_000,
            "amount": 200_000.0 if way == 0 else chance.randrange(10_000_000) / 100,
            "quantity": 1 + n % 9,
            "note": None if n % 4 else "by phone",
        }
        if name == "avro":
            out = io.BytesIO(frame)
            out.seek(len(frame))
            fastavro.schemaless_writer(out, parsed, record)
            body = out.getvalue()
        else:
            if name == "json":
                time = f"2026-03-01T12:{n // 60 % 60:02}:{n % 60:02}.{n % 1000:03}Z"
                record |= {"_schema_version": 1, "ordered_at": time}
            if way == 1:
                record["quantity"] = "one"
            body = orjson.dumps(record)
        return body[:-2] if way == 2 or (name == "avro" and way == 1) else body

    return encode


def send(bootstrap: str, values: list[bytes]) -> None:
    """Make the topic, and fill it."""
    create_topic(bootstrap, NAME, _PARTITIONS)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 0}
    )
    for n, value in enumerate(values):
        producer.produce(NAME, value, b"key-%d" % (n % 1000), n % _PARTITIONS)
        if not n % 10_000:
            producer.poll(0)
    producer.flush()


def settings(bootstrap: str, work: Path, folder: Path) -> dict[str, str]:
    """Return the flow's settings."""
    return {
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        f"{PREFIX}DELTA_ROOT": str(work / "tables"),
        f"{PREFIX}MAX_REJECT_RATIO": "1",
        f"{ENFORCE_PREFIX}FOLDER": str(folder),
    }


def _cpu(bootstrap: str, work: Path, folder: Path, topic: str, epoch: int) -> float:
    contract = folder / NAME / "contract.yaml"
    contract.write_text(f"topic: {topic}\n{contract.read_text()}")
    environ = settings(bootstrap, work / topic, folder)
    used = run_alone(Code(), "enforce", environ, work / topic, epoch)
    # Read again by the run on the empty topic.
    contract.write_text(contract.read_text().partition("\n")[2])
    return used[1]


def delay(name: str, rate: int, seconds: int, epoch: int) -> dict[str, float]:
    """Return quantiles of the ms from an event's production to its consumer behind the flow.

    The first 2 s are left out.
    """
    values = records(name, rate * seconds, 0.0)
    with start_broker() as bootstrap, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        declare(Path(work, "enforced"), name)
        for topic in (NAME, f"{NAME}.validated"):
            create_topic(bootstrap, topic, _PARTITIONS)
        environ = {
            **ENVIRON,
            **settings(bootstrap, Path(work), Path(work, "enforced")),
            "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch),
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "bytewax.run", "flows.enforce", "-r", f"{work}/state"]
        flow = subprocess.Popen(command, env=environ, cwd=work)
        try:
            heard = _Heard(bootstrap)
            # One first: when it is there, the flow is at work.
            _paced(bootstrap, values[:1], rate)
            while not heard.came and flow.poll() is None:
                time.sleep(0.1)
            began = int(time.time() * 1_000)
            _paced(bootstrap, values[1:], rate)
            time.sleep(2)  # for the last of them
            heard.end()
            flow.send_signal(signal.SIGTERM)
            flow.wait(60)
        finally:
            flow.kill()
    sent, came = np.array(heard.sent), np.array(heard.came)
    took = (came - sent)[sent > began + _WARM_MS]
    return {f"{name} p{q} ms": float(np.quantile(took, q / 100)) for q in (50, 90, 99)}


def _paced(bootstrap: str, values: list[bytes], rate: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    # 200 times a second.
    began, tick = time.monotonic(), rate // 200
    for first in range(0, len(values), tick):
        time.sleep(max(0.0, began + first / rate - time.monotonic()))
        for n, value in enumerate(values[first : first + tick], first):
            producer.produce(NAME, value, b"key", n % _PARTITIONS)
        producer.poll(0)
    producer.flush()


class _Heard:
    """What a consumer of the validated topic hears: each record's own time, and when it came."""

    def __init__(self, bootstrap: str) -> None:
        self.sent: list[int] = []
        self.came: list[float] = []
        self._over = False
        self._client = consumer({"bootstrap.servers": bootstrap}, "heard")
        places = [TopicPartition(f"{NAME}.validated", p, 0) for p in range(_PARTITIONS)]
        self._client.assign(places)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            messages = self._client.consume(1_000, 0.001)
            now = time.time() * 1_000
            for message in messages:
                if message.error() is None:
                    self.sent.append(message.timestamp()[1])
                    self.came.append(now)

    def end(self) -> None:
        """Hear no more."""
        self._over = True
        self._thread.join()
        self._client.close()
