"""Enforcing: events per CPU-second of the whole flow, by format and share of bad records.

And, with --delay, how long an event takes to its consumer of the validated topic, at 10,000
events/s on the local broker. With --bare the limit of the first: what the client alone takes to
consume as many messages and to produce each again, and the flow with a table alone.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import Producer, TopicPartition

from benchmarks import ENVIRON
from benchmarks.enforce_topic import NAME, PARTITIONS, STATED, declare, records, send
from benchmarks.figures import add_json, show
from benchmarks.runs import ROOT, Code, run_alone
from flows.environment import ENFORCE_PREFIX, PREFIX
from operators.connectors.kafka.client import consumer
from operators.connectors.kafka.outgoing import RECORD_HEADER
from ops.local import start_broker
from ops.topics import create_topic

_WARM_MS: Final = 2_000
_SHARES: Final = (0.0, 0.01, 0.5)


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``enforce``."""
    parser = subparsers.add_parser(
        "enforce", help="events per CPU-second of flows.enforce", description=__doc__
    )
    parser.add_argument("--events", type=int, default=400_000, metavar="N")
    parser.add_argument("--epoch", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--format", choices=tuple(STATED), action="append", dest="formats")
    parser.add_argument(
        "--delay", type=int, metavar="SECONDS", help="the time at a steady rate, instead"
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="the client without the flow, and the flow without a validated topic, instead",
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    found: dict[str, float] = {}
    for name in args.formats or STATED:
        if args.delay:
            found |= delay(name, 10_000, args.delay, args.epoch)
            continue
        if args.bare:
            found |= bare(name, args.events, args.epoch)
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
        create_topic(bootstrap, "empty", PARTITIONS)
        return round(events / _cpu_beyond_start(bootstrap, Path(work), folder, epoch))


def bare(name: str, events: int, epoch: int) -> dict[str, float]:
    """Return events per CPU-second of the client alone, and of the flow with a table alone."""
    with start_broker() as bootstrap, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        folder = Path(work, "enforced")
        declare(folder, name, "validated: false\n")
        send(bootstrap, records(name, events, 0.0))
        for topic in ("empty", "copied"):
            create_topic(bootstrap, topic, PARTITIONS)
        alone = _cpu_beyond_start(bootstrap, Path(work), folder, epoch)
        took = {
            "consumed": _copied(bootstrap, events, None),
            "consumed and produced": _copied(bootstrap, events, "copied"),
            "table alone": alone,
        }
        return {f"{name} {what}": round(events / used) for what, used in took.items()}


def _copied(bootstrap: str, events: int, to: str | None) -> float:
    """Consume all messages, produce each `to` a topic, and return the CPU seconds."""
    own = {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 0}
    producer = Producer({**own, "enable.idempotence": True, "linger.ms": 1})
    client = consumer({"bootstrap.servers": bootstrap}, "bare")
    client.assign([TopicPartition(NAME, p, 0) for p in range(PARTITIONS)])
    used, left = time.process_time(), events
    while left > 0:
        messages = [m for m in client.consume(2_000, 0.1) if m.error() is None]
        left -= len(messages)
        for m in messages if to is not None else ():
            header = b"%d" % m.offset()
            place = m.partition(), None, None, m.timestamp()[1]
            producer.produce(to, m.value(), m.key(), *place, [(RECORD_HEADER, header)])
        producer.poll(0)
    producer.flush()
    used = time.process_time() - used
    client.close()
    return used


def _cpu_beyond_start(bootstrap: str, work: Path, folder: Path, epoch: int) -> float:
    """Return what the flow takes of the topic, less what it takes of an empty one."""
    took = [_cpu(bootstrap, work, folder, topic, epoch) for topic in (NAME, "empty")]
    return took[0] - took[1]


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
            create_topic(bootstrap, topic, PARTITIONS)
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
            producer.produce(NAME, value, b"key", n % PARTITIONS)
        producer.poll(0)
    producer.flush()


class _Heard:
    """What a consumer of the validated topic hears: each record's own time, and when it came."""

    def __init__(self, bootstrap: str) -> None:
        self.sent: list[int] = []
        self.came: list[float] = []
        self._over = False
        self._client = consumer({"bootstrap.servers": bootstrap}, "heard")
        places = [TopicPartition(f"{NAME}.validated", p, 0) for p in range(PARTITIONS)]
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
