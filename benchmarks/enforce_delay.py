"""Enforcing, at a steady rate: how long an event takes to a consumer of the validated topic."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Producer, TopicPartition

from benchmarks import ENVIRON
from benchmarks.enforce_topic import NAME, PARTITIONS, declare, records, settings
from benchmarks.runs import ROOT
from benchmarks.topics import brokers
from operators.connectors.kafka.client import consumer
from ops.topics import create_topic

_WARM_MS: Final = 2_000


def delay(name: str, rate: int, seconds: int, epoch: int) -> dict[str, float]:
    """Return quantiles of the ms from an event's production to its consumer behind the flow.

    The first 2 s are left out.
    """
    values = records(name, rate * seconds, 0.0)
    with brokers() as bootstrap, tempfile.TemporaryDirectory(prefix="millstream-") as work:
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
    # Without a wait each record would be a request of its own, which no producer of so many does.
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2})
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
