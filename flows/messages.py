"""What goes out to Kafka: alerts and decisions as JSON, rejects as the bytes that came in."""

import struct
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson
import polars as pl

import schemas
from operators.avro.bulk_encode import encode
from operators.columns.times import in_micros
from operators.connectors.kafka.outgoing import Outgoing
from operators.records.quarantine import ATTEMPTS_HEADER, TIMESTAMP_HEADER
from operators.records.rejects import Refusal, Stage
from operators.steps.settled import WATERMARK

_CONNECT: Final = "__connect.errors."
_SPRING: Final = "kafka_dlt-"
_STREAMS: Final = "__streams.errors."

# Connect's name of what was being done (org.apache.kafka.connect.runtime.errors.Stage), and what
# does it here.
_STAGES: Final[dict[Stage, tuple[str, str]]] = {
    "decode": ("VALUE_CONVERTER", "operators.avro.decode.Decoder"),
    "contract": ("TRANSFORMATION", "operators.contracts.Contract"),
    "rule": ("TRANSFORMATION", "operators.rules.rules.RuleSet"),
    "sink": ("TASK_PUT", "operators.connectors.delta.sink.DeltaSink"),
}
# No exception is thrown, so there is no stack trace: a refusal is a value, and this its class.
_REFUSAL: Final = f"{Refusal.__module__}.{Refusal.__qualname__}"
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND: Final = timedelta(milliseconds=1)


def alert_messages(alerts: pl.DataFrame, key: str) -> list[Outgoing]:
    """Return a message per alert, keyed by a column, its value the alert's columns as JSON."""
    return [
        Outgoing(
            row["alert_id"],
            (row["source_topic"], row["source_partition"], row["source_offset"]),
            row[key].encode(),
            orjson.dumps(row, option=orjson.OPT_UTC_Z),
        )
        for row in alerts.iter_rows(named=True)
    ]


def label_messages(labels: pl.DataFrame) -> list[Outgoing]:
    """Return a message per label, keyed by its payment, in the newest version of its schema.

    No record has made it but the flow's watermark, which stands for its source.
    """
    frame = struct.pack(">bI", 0, schemas.local_id("label", schemas.versions("label")[-1]))
    bodies = encode(schemas.latest("label"), labels).to_pylist()
    settled = in_micros(labels["settled_at"]).tolist()
    return [
        Outgoing(label, (WATERMARK, 0, time), payment.encode(), frame + body)
        for label, payment, time, body in zip(
            labels["label_id"], labels["payment_id"], settled, bodies, strict=True
        )
    ]


def decision_messages(decisions: pl.DataFrame, key: str) -> list[Outgoing]:
    """Return a message per decision, as of an alert; what a hit's rule has read is an object."""
    found = []
    for row in decisions.iter_rows(named=True):
        hits = [{**hit, "values": orjson.Fragment(hit["values"])} for hit in row["hits"] or ()]
        found.append(
            Outgoing(
                row["decision_id"],
                (row["source_topic"], row["source_partition"], row["source_offset"]),
                row[key].encode(),
                orjson.dumps({**row, "hits": hits}, option=orjson.OPT_UTC_Z),
            )
        )
    return found


def reject_messages(rejects: pl.DataFrame) -> list[Outgoing]:
    """Return a message per reject: the record's key, value and headers, and why in headers.

    `rejects` has `QUARANTINE_COLUMNS`. The record's own headers come first and stay as they are,
    also where one of ours has the same name. No header of ours holds a value of the payload.
    `millstream.*` say what we have to say; the rest says it to tools made for others' dead
    letters, in their names and bytes:

    - Kafka Connect (KIP-298, DeadLetterQueueReporter): texts, `stage` one of its Stage enum;
    - Spring (DeadLetterPublishingRecoverer): a partition as 4 bytes, an offset and a timestamp
      as 8, the highest first;
    - Kafka Streams (KIP-1034, ExceptionHandlerUtils): texts.
    """
    return [_reject_message(row) for row in rejects.iter_rows(named=True)]


def _reject_message(row: dict[str, Any]) -> Outgoing:
    source = row["source_topic"], row["source_partition"], row["source_offset"]
    code = row["code"]
    return Outgoing(
        f"{code}/{'/'.join(map(str, source))}",
        source,
        row["key"],
        row["value"],
        tuple(_why(row).items()),
        tuple((header["key"], header["value"]) for header in row["headers"] or ()),
    )


def _why(row: dict[str, Any]) -> dict[str, bytes]:
    topic, partition, offset = (
        row[f"source_{name}"] for name in ("topic", "partition", "offset")
    )
    timestamp = row["kafka_timestamp"]
    headers = dict(_of_kind(topic, *(row[name] for name in _KIND)))
    headers[f"{_CONNECT}partition"] = headers[f"{_STREAMS}partition"] = b"%d" % partition
    headers[f"{_CONNECT}offset"] = headers[f"{_STREAMS}offset"] = b"%d" % offset
    headers[TIMESTAMP_HEADER] = timestamp.isoformat().encode() if timestamp else b""
    headers[f"{_SPRING}original-partition"] = struct.pack(">i", partition)
    headers[f"{_SPRING}original-offset"] = struct.pack(">q", offset)
    if timestamp:
        milliseconds = (timestamp - _EPOCH) // _MILLISECOND
        headers[f"{_SPRING}original-timestamp"] = struct.pack(">q", milliseconds)
    return headers


_KIND: Final = ("stage", "code", "fingerprint", "attempts", "schema_id", "message")


@lru_cache(maxsize=4096)
def _of_kind(
    topic: str,
    stage: Stage,
    code: str,
    fingerprint: str,
    attempts: int,
    schema_id: str | None,
    message: str,
) -> dict[str, bytes]:
    """Return what rejects of one kind have in common: bad records come by the thousand."""
    doing, by = _STAGES[stage]
    texts = {
        "millstream.stage": stage,
        "millstream.code": code,
        "millstream.fingerprint": fingerprint,
        ATTEMPTS_HEADER: attempts,
        "millstream.schema_id": schema_id or "",
        f"{_CONNECT}topic": topic,
        f"{_CONNECT}connector.name": "millstream",
        f"{_CONNECT}stage": doing,
        f"{_CONNECT}class.name": by,
        f"{_CONNECT}exception.class.name": _REFUSAL,
        f"{_CONNECT}exception.message": message,
        f"{_STREAMS}exception": _REFUSAL,
        f"{_STREAMS}message": message,
        f"{_STREAMS}topic": topic,
        f"{_SPRING}exception-fqcn": _REFUSAL,
        f"{_SPRING}exception-message": message,
        f"{_SPRING}original-topic": topic,
    }
    return {name: str(value).encode() for name, value in texts.items()}
