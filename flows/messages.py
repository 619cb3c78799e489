"""What goes out to Kafka: alerts and decisions as JSON, rejects as the bytes that came in."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
import polars as pl

import schemas
from operators.avro.bulk_encode import encode
from operators.columns.frames import filtered
from operators.columns.times import in_calendar, in_micros, in_python
from operators.connectors.kafka.outgoing import HeaderPairs, Outgoing
from operators.control.changes import Change
from operators.decisions.plain import plain_texts
from operators.decisions.words import PLAIN
from operators.privacy import UNGUARDED, Guard
from operators.records.batches import Progress
from operators.records.columns import KEY_ID
from operators.records.quarantine import ATTEMPTS_HEADER, TIMESTAMP_HEADER
from operators.records.rejects import Refusal, Stage
from operators.records.tables import COORDINATES
from operators.rules.rule import Rule
from operators.steps.settled import WATERMARK

_CONNECT: Final = "__connect.errors."
_SPRING: Final = "kafka_dlt-"
_STREAMS: Final = "__streams.errors."
KEY_HEADER: Final = "millstream.key_id"
"""Says which key a dead letter's record is encrypted with."""

# Connect's name of what was being done (org.apache.kafka.connect.runtime.errors.Stage), and what
# does it here.
_STAGES: Final[dict[Stage, tuple[str, str]]] = {
    "decode": ("VALUE_CONVERTER", "operators.avro.decode.Decoder"),
    "contract": ("TRANSFORMATION", "operators.contracts.Contract"),
    "rule": ("TRANSFORMATION", "operators.rules.rules.RuleSet"),
}
# No exception is thrown, so there is no stack trace: a refusal is a value, and this its class.
_REFUSAL: Final = f"{Refusal.__module__}.{Refusal.__qualname__}"
_KIND: Final = ("stage", "code", "fingerprint", "attempts", "schema_id", "message")
_CONNECT_OFFSET: Final = f"{_CONNECT}offset"
_STREAMS_OFFSET: Final = f"{_STREAMS}offset"
_SPRING_OFFSET: Final = f"{_SPRING}original-offset"
_SPRING_TIMESTAMP: Final = f"{_SPRING}original-timestamp"


def alert_messages(alerts: pl.DataFrame, key: str, guard: Guard = UNGUARDED) -> list[Outgoing]:
    """Return a message per alert, keyed by a column, its value the alert's columns as JSON."""
    alerts = guard.rows("alerts", alerts)
    return [
        Outgoing(
            row["alert_id"],
            (row["source_topic"], row["source_partition"], row["source_offset"]),
            row[key].encode(),
            orjson.dumps(row, option=orjson.OPT_UTC_Z),
        )
        for row in _rows(alerts)
    ]


def pause_alerts(
    changes: Iterable[Change], topic: str, columns: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Return alerts about rules that have paused themselves, with the columns that alerts have.

    They are made of the changes of a control topic, and of no event: its texts are empty, and
    `rule_status` is `paused`, as of no other alert. `event_time` is from when on the rule is.
    """
    rows = []
    for change in changes:
        rule = change.content
        if not isinstance(rule, Rule):
            continue
        place = dict(zip(COORDINATES, (topic, 0, change.offset), strict=True))
        rows.append(
            {name: "" for name, kind in columns.items() if kind == pl.String()}
            | place
            | {
                "alert_id": f"{rule.id}@{rule.version}/{topic}/0/{change.offset}",
                "rule_id": rule.id,
                "rule_version": rule.version,
                "rule_status": rule.status,
                "event_time": change.begins,
                "severity": rule.severity,
                "action": "review",
                "score": 0.0,
                "reason": f"the rule has paused itself: it {change.why}",
            }
        )
    return pl.DataFrame(rows, schema=dict(columns))


def pause_messages(
    progress: Progress, changes: Iterable[Change], columns: Mapping[str, pl.DataType]
) -> list[Outgoing]:
    """Return a message per alert of `pause_alerts`, keyed by the rule; of a control topic's."""
    return alert_messages(pause_alerts(changes, progress.topic, columns), "rule_id")


def _rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    values = (in_python(column) for column in frame.get_columns())
    return (dict(zip(frame.columns, row, strict=True)) for row in zip(*values, strict=True))


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


def decision_messages(
    decisions: pl.DataFrame, key: str, guard: Guard = UNGUARDED
) -> list[Outgoing]:
    """Return a message per decision, as of an alert; what a hit's rule has read is an object."""
    decisions = guard.rows("decisions", decisions)
    plain = decisions["sentence"] == PLAIN
    if plain.any() and in_calendar(decisions["event_time"]):
        # In their order: plain approvals are many, and made at once.
        made = plain_texts(filtered(decisions, plain))
        others = _decision_texts(filtered(decisions, ~plain))
        texts = [next(made) if each else next(others) for each in plain.to_list()]
    else:
        texts = list(_decision_texts(decisions))
    names = ("decision_id", *COORDINATES, key)
    each = zip(*(decisions[name].to_list() for name in names), texts, strict=True)
    return [
        Outgoing(id_, (topic, partition, offset), who.encode(), text)
        for id_, topic, partition, offset, who, text in each
    ]


def _decision_texts(decisions: pl.DataFrame) -> Iterator[bytes]:
    for row in _rows(decisions):
        hits = [{**hit, "values": orjson.Fragment(hit["values"])} for hit in row["hits"] or ()]
        yield orjson.dumps({**row, "hits": hits}, option=orjson.OPT_UTC_Z)


def reject_messages(rejects: pl.DataFrame, guard: Guard = UNGUARDED) -> list[Outgoing]:
    """Return a message per reject: the record's key, value and headers, and why in headers.

    `rejects` has `QUARANTINE_COLUMNS`. The record's own headers come first and stay as they are,
    also where one of ours has the same name. No header of ours holds a value of the payload.
    `millstream.*` say what we have to say; the rest says it to tools made for others' dead
    letters, in their names and bytes:

    - Kafka Connect (KIP-298, DeadLetterQueueReporter): texts, `stage` one of its Stage enum;
    - Spring (DeadLetterPublishingRecoverer): a partition as 4 bytes, an offset and a timestamp
      as 8, the highest first;
    - Kafka Streams (KIP-1034, ExceptionHandlerUtils): texts.

    Where dead letters are encrypted, so are key, value and the values of the record's own headers.
    """
    rejects = guard.sealed("dead_letters", rejects)
    sealed: HeaderPairs = ()
    if KEY_ID in rejects.columns and rejects.height:
        sealed = ((KEY_HEADER, rejects[KEY_ID][0].encode()),)
    kinds: dict[tuple[Any, ...], HeaderPairs] = {}
    places: dict[tuple[str, int], HeaderPairs] = {}
    found = []
    for kind, place, offset, text, micros, key, value, headers in zip(
        rejects.select(_KIND).rows(),
        rejects.select("source_topic", "source_partition").rows(),
        rejects["source_offset"].to_list(),
        _texts(rejects["kafka_timestamp"]),
        rejects["kafka_timestamp"].to_physical().to_list(),
        *(rejects[name].to_list() for name in ("key", "value", "headers")),
        strict=True,
    ):
        # What many rejects have in common is written once: half of a topic may be refused.
        if kind not in kinds:
            kinds[kind] = _what(*kind)
        if place not in places:
            places[place] = _where(*place)
        found.append(
            Outgoing(
                f"{kind[1]}/{place[0]}/{place[1]}/{offset}",
                (*place, offset),
                key,
                value,
                (*kinds[kind], *places[place], *_which(offset, text, micros), *sealed),
                tuple((header["key"], header["value"]) for header in headers or ()),
            )
        )
    return found


def _what(
    stage: Stage,
    code: str,
    fingerprint: str,
    attempts: int,
    schema_id: str | None,
    message: str,
) -> HeaderPairs:
    doing, by = _STAGES[stage]
    texts = {
        "millstream.stage": stage,
        "millstream.code": code,
        "millstream.fingerprint": fingerprint,
        ATTEMPTS_HEADER: str(attempts),
        "millstream.schema_id": schema_id or "",
        f"{_CONNECT}connector.name": "millstream",
        f"{_CONNECT}stage": doing,
        f"{_CONNECT}class.name": by,
        f"{_CONNECT}exception.class.name": _REFUSAL,
        f"{_CONNECT}exception.message": message,
        f"{_STREAMS}exception": _REFUSAL,
        f"{_STREAMS}message": message,
        f"{_SPRING}exception-fqcn": _REFUSAL,
        f"{_SPRING}exception-message": message,
    }
    return tuple((name, text.encode()) for name, text in texts.items())


def _where(topic: str, partition: int) -> HeaderPairs:
    name, number = topic.encode(), b"%d" % partition
    return (
        (f"{_CONNECT}topic", name),
        (f"{_CONNECT}partition", number),
        (f"{_STREAMS}topic", name),
        (f"{_STREAMS}partition", number),
        (f"{_SPRING}original-topic", name),
        (f"{_SPRING}original-partition", struct.pack(">i", partition)),
    )


def _which(offset: int, text: str | None, micros: int | None) -> HeaderPairs:
    number = b"%d" % offset
    found = (
        (_CONNECT_OFFSET, number),
        (_STREAMS_OFFSET, number),
        (_SPRING_OFFSET, struct.pack(">q", offset)),
    )
    if text is None or micros is None:
        return (*found, (TIMESTAMP_HEADER, b""))
    return (
        *found,
        (TIMESTAMP_HEADER, text.encode()),
        (_SPRING_TIMESTAMP, struct.pack(">q", micros // 1_000)),
    )


def _texts(times: pl.Series) -> list[str | None]:
    """Return times in ISO 8601, as `datetime.isoformat` writes them."""
    whole = times.to_physical() % 1_000_000 == 0
    texts = times.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
    return texts.zip_with(~whole, times.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")).to_list()
