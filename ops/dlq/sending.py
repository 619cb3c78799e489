"""Sending records to their topic again, each once, in transactions."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import polars as pl
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.connectors.kafka.brokers import brokers_of
from operators.connectors.kafka.client import headers_of, read_to_end
from operators.connectors.kafka.faults import denied
from operators.records.quarantine import ATTEMPTS_HEADER, TIMESTAMP_HEADER
from ops.dlq.headers import EDITED_HEADER, ORIGIN_HEADER, REPLAY_HEADER, origin_of
from ops.dlq.quarantine import Place, QuarantineError
from ops.dlq.records import headers_of as original_headers

_CHUNK: Final = 5_000
_SECONDS: Final = 30.0
_GO_ON: Final = "What was sent is sent: run replay --send again, and it goes on from there"


class Sender:
    """Sends the rejects of a replay; another one of the same `owner` takes over from it."""

    def __init__(
        self, config: Mapping[str, str], owner: str, rate: float | None = None
    ) -> None:
        """`rate` is in records a second. Raises QuarantineError, KafkaUnavailableError."""
        self._config, self._rate = dict(config), rate
        self._topic = ""
        self._failed: KafkaError | None = None
        self.sent: dict[Place, Place] = {}
        """Where what was sent is now, by where it came from."""
        self._id = f"millstream-replay-{owner}"
        own = {
            "transactional.id": self._id,
            "linger.ms": 5,
            "transaction.timeout.ms": int(_SECONDS * 1000),
        }
        self._brokers = brokers_of(self._config)
        self._producer = Producer({**self._config, **own, **self._brokers.callbacks()})
        # Whoever was at it before has sent all that it ever will: what it began is undone.
        self._try(lambda: self._producer.init_transactions(_SECONDS))

    def already(self, replay: str, behind: Mapping[tuple[str, int], int]) -> dict[Place, Place]:
        """Return where what a replay has sent `behind` these ends is, by where it came from."""
        found: dict[Place, Place] = {}
        for topic in {topic for topic, _ in behind}:
            starts = {p: offset for (t, p), offset in behind.items() if t == topic}
            for message in read_to_end(self._config, topic, starts):
                origin = origin_of(headers_of(message), replay)
                if origin is not None:
                    found[origin] = topic, message.partition(), message.offset()
        return found

    def send(
        self, replay: str, rows: Iterator[pl.DataFrame], told: Callable[[int], None]
    ) -> int:
        """Send rejects, with their records, each to its own partition; return how many."""
        sent, ready = 0, time.monotonic()
        size = _CHUNK if self._rate is None else max(1, min(_CHUNK, int(self._rate)))
        for frame in rows:
            for chunk in frame.iter_slices(size):
                time.sleep(max(0.0, ready - time.monotonic()))
                # From its own start: what was slow is not made up for at once.
                begun = time.monotonic()
                self._transact(replay, chunk)
                ready = begun + (chunk.height / self._rate if self._rate else 0.0)
                sent += chunk.height
                told(sent)
        return sent

    def _transact(self, replay: str, chunk: pl.DataFrame) -> None:
        self._topic = chunk["source_topic"][0]
        self._try(self._producer.begin_transaction)
        for row in chunk.iter_rows(named=True):
            self._try(partial(self._produce, replay, row))
        self._try(lambda: self._producer.commit_transaction(_SECONDS))

    def _produce(self, replay: str, row: dict[str, Any]) -> None:
        place: Place = row["source_topic"], row["source_partition"], row["source_offset"]
        stamp, origin = row["kafka_timestamp"], "/".join(map(str, place))
        headers = [
            *original_headers(row),
            (ATTEMPTS_HEADER, b"%d" % (row["attempts"] or 1)),
            (ORIGIN_HEADER, origin.encode()),
            (REPLAY_HEADER, replay.encode()),
            # The record itself is of now: one as old as this the topic's retention may delete
            # before any flow has read it.
            (TIMESTAMP_HEADER, b"" if stamp is None else stamp.isoformat().encode()),
        ]
        if row.get("edit") is not None:
            headers.append((EDITED_HEADER, row["edit"].encode()))
        while True:
            try:
                self._producer.produce(
                    row["source_topic"],
                    row["value"],
                    row["key"],
                    row["source_partition"],
                    headers=headers,
                    on_delivery=partial(self._delivered, place),
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except KafkaException as error:
            if error.args[0].code() == KafkaError._TIMED_OUT:
                raise self._brokers.given_up(_SECONDS) from error
            # Of a commit it only says that some message has failed.
            what = self._refused(self._failed or error.args[0])
            raise QuarantineError(f"{what}. {_GO_ON}") from error

    def _delivered(self, place: Place, error: KafkaError | None, message: Message) -> None:
        self._failed = self._failed or error
        if error is None:
            self.sent[place] = place[0], message.partition(), message.offset()

    def _refused(self, error: KafkaError) -> str:
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return denied(self._config, "WRITE", self._id, ["WRITE"], "transactional id")
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return denied(self._config, "WRITE", self._topic, ["READ", "WRITE"])
        return f"Kafka at {self._config.get('bootstrap.servers')}: {error.str()}"
