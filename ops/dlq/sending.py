"""Sending records to their topic again, each once, in transactions."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl
from confluent_kafka import KafkaException, Producer

from operators.connectors.kafka.client import headers_of, read_to_end
from operators.records.quarantine import ATTEMPTS_HEADER
from ops.dlq.quarantine import PLACE, QuarantineError
from ops.dlq.records import headers_of as original_headers

ORIGIN_HEADER: Final = "millstream.origin"
"""The coordinates of the reject that a record is sent again of."""
REPLAY_HEADER: Final = "millstream.replay"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_CHUNK: Final = 5_000
_SECONDS: Final = 60.0

Place = tuple[str, int, int]


class Sender:
    """Sends the rejects of a replay; another one of the same `owner` takes over from it."""

    def __init__(
        self, config: Mapping[str, str], owner: str, rate: float | None = None
    ) -> None:
        """`rate` is in records per second. Raises QuarantineError if the brokers do not let us."""
        self._config, self._rate = dict(config), rate
        own = {
            "transactional.id": f"millstream-replay-{owner}",
            "linger.ms": 5,
            "log_level": 0,
            "transaction.timeout.ms": int(_SECONDS * 1000),
        }
        self._producer = Producer({**self._config, **own})
        # Whoever was at it before has sent all that it ever will: what it began is undone.
        self._try(lambda: self._producer.init_transactions(_SECONDS))

    def already(self, replay: str, behind: Mapping[tuple[str, int], int]) -> set[Place]:
        """Return what a replay has sent so far; it is `behind` these ends."""
        found: set[Place] = set()
        for topic in {topic for topic, _ in behind}:
            starts = {p: offset for (t, p), offset in behind.items() if t == topic}
            messages = read_to_end(self._config, topic, starts)
            for message in messages:
                headers = dict(headers_of(message))
                if headers.get(REPLAY_HEADER) == replay.encode():
                    found.add(_place((headers[ORIGIN_HEADER] or b"").decode()))
        return found

    def send(
        self, replay: str, rows: Iterator[pl.DataFrame], told: Callable[[int], None]
    ) -> int:
        """Send rejects, with their records, each to its own partition; return how many."""
        sent, began = 0, time.monotonic()
        size = _CHUNK if self._rate is None else max(1, min(_CHUNK, int(self._rate)))
        for frame in rows:
            for chunk in frame.iter_slices(size):
                self._wait(sent, began)
                self._transact(replay, chunk)
                sent += chunk.height
                told(sent)
        return sent

    def _wait(self, sent: int, began: float) -> None:
        if self._rate is not None:
            time.sleep(max(0.0, began + sent / self._rate - time.monotonic()))

    def _transact(self, replay: str, chunk: pl.DataFrame) -> None:
        self._try(self._producer.begin_transaction)
        for row in chunk.iter_rows(named=True):
            self._try(lambda row=row: self._produce(replay, row))  # type: ignore[misc]
        self._try(lambda: self._producer.commit_transaction(_SECONDS))

    def _produce(self, replay: str, row: dict[str, Any]) -> None:
        stamp = row["kafka_timestamp"]
        origin = "/".join(str(row[name]) for name in PLACE)
        headers = [
            *original_headers(row),
            (ATTEMPTS_HEADER, b"%d" % (row["attempts"] or 1)),
            (ORIGIN_HEADER, origin.encode()),
            (REPLAY_HEADER, replay.encode()),
        ]
        while True:
            try:
                self._producer.produce(
                    row["source_topic"],
                    row["value"],
                    row["key"],
                    row["source_partition"],
                    headers=headers,
                    # The record's own: the contract holds its event time against it.
                    timestamp=0 if stamp is None else (stamp - _EPOCH) // _MILLISECOND,
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except KafkaException as error:
            raise QuarantineError(
                f"Kafka at {self._config.get('bootstrap.servers')}: {error.args[0].str()}; what "
                "was sent is sent: run replay --send again, and it goes on from there"
            ) from error


def _place(text: str) -> Place:
    topic, partition, offset = text.rsplit("/", 2)
    return topic, int(partition), int(offset)
