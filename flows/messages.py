"""What goes out to Kafka: alerts as JSON, rejects as the bytes that came in."""

from typing import Final

import orjson
import polars as pl

from operators.connectors.kafka_sink import Outgoing

_CONNECT: Final = "__connect.errors."


def alert_messages(alerts: pl.DataFrame) -> list[Outgoing]:
    """Return a message per alert, keyed by card, its value the alert's columns as JSON."""
    return [
        Outgoing(
            row["alert_id"],
            (row["source_topic"], row["source_partition"], row["source_offset"]),
            row["card_id"].encode(),
            orjson.dumps(row, option=orjson.OPT_UTC_Z),
        )
        for row in alerts.iter_rows(named=True)
    ]


def reject_messages(rejects: pl.DataFrame) -> list[Outgoing]:
    """Return a message per reject: the record's key, value and headers, and why in headers.

    The names are those of Kafka Connect's dead-letter queues (KIP-298), so that tools made
    for these read them; `millstream.*` add what Connect has no name for.
    """
    messages = []
    for row in rejects.iter_rows(named=True):
        topic, partition, offset = (
            row["source_topic"], row["source_partition"], row["source_offset"]
        )  # fmt: skip
        why = {
            f"{_CONNECT}topic": topic,
            f"{_CONNECT}partition": partition,
            f"{_CONNECT}offset": offset,
            f"{_CONNECT}connector.name": "millstream",
            f"{_CONNECT}stage": row["stage"].upper(),
            f"{_CONNECT}class.name": row["code"],
            f"{_CONNECT}exception.message": row["message"],
            "millstream.stage": row["stage"],
            "millstream.code": row["code"],
            "millstream.schema_id": row["schema_id"] or "",
            "millstream.timestamp": row["kafka_timestamp"].isoformat()
            if row["kafka_timestamp"]
            else "",
        }
        original = [(h["key"], h["value"]) for h in row["headers"] or ()]
        messages.append(
            Outgoing(
                f"{row['code']}/{topic}/{partition}/{offset}",
                (topic, partition, offset),
                row["key"],
                row["value"],
                (*original, *((name, str(value).encode()) for name, value in why.items())),
            )
        )
    return messages
