"""Records to Kafka: every one delivered, in order, or an error."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import polars as pl
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.simulate.encode import SCHEMA_HEADER

_CHUNK: Final = 20_000


class ProduceError(RuntimeError):
    """Some records were not delivered."""


class Records(Protocol):
    """What was made for a topic."""

    @property
    def records(self) -> pl.DataFrame:
        """What is produced, in order; see `Simulation`."""


def produce(
    made: Records,
    bootstrap: str,
    topic: str,
    rate: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
    settings: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> float:
    """Produce all records, each to its partition, in order; returns the seconds it took.

    Idempotent, acks=all, timestamps are the time of producing. `rate` in records per second
    paces them; `progress` is told the number handed over so far, a few times a second at
    least. `settings` are further librdkafka settings. Raises ProduceError if a record is
    refused or not delivered within `timeout` seconds of the last one; KafkaException for
    settings that librdkafka refuses.
    """
    failures: list[KafkaError] = []

    def failed(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(error)

    config: dict[str, Any] = {
        "linger.ms": 5 if rate else 20,
        "queue.buffering.max.messages": 500_000,
        **(settings or {}),
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        # A callback per record would be half of the work.
        "delivery.report.only.error": True,
        "message.timeout.ms": int(timeout * 1000),
    }
    producer = Producer(config)
    began = time.monotonic()
    try:
        records = made.records
        chunk = _CHUNK if rate is None else max(1, min(_CHUNK, int(rate / 100)))
        for at in range(0, len(records), chunk):
            if rate is not None:
                _wait(producer, began + at / rate)
            _hand_over(producer, topic, records[at : at + chunk], failed)
            producer.poll(0)
            if failures:
                break
            progress(min(at + chunk, len(records)))
        left = producer.flush(timeout)
    except KafkaException as error:
        raise ProduceError(f"{topic} at {bootstrap}: {error.args[0].str()}") from error
    if failures or left:
        producer.purge()
        why = failures[0].str() if failures else f"no answer within {timeout:g} s"
        raise ProduceError(
            f"{topic} at {bootstrap}: {len(failures) + left} records lost: {why}"
        )
    return time.monotonic() - began


def _wait(producer: Producer, until: float) -> None:
    """Wait until a time of the monotonic clock, serving deliveries."""
    while (left := until - time.monotonic()) > 0:
        producer.poll(min(left, 0.05))


def _hand_over(
    producer: Producer, topic: str, records: pl.DataFrame, failed: Callable[..., None]
) -> None:
    for partition, key, value, header in zip(
        records["partition"].to_list(),
        records["key"].to_list(),
        records["value"].to_list(),
        records["header"].to_list(),
        strict=True,
    ):
        headers = None if header is None else [(SCHEMA_HEADER, header)]
        while True:
            try:
                producer.produce(topic, value, key, partition, failed, headers=headers)
            except BufferError:
                producer.poll(0.1)
            else:
                break
