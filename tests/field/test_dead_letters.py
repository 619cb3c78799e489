"""Dead letters: none is too large to send, each says why in the words that others' tools read."""

import struct
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Message, Producer

from operators.connectors.kafka.client import headers_of, read_to_end, wait_for_partitions
from operators.connectors.kafka.outgoing import ID_HEADER, left_out_header
from tests.field import raw_record
from tests.field.topic import Field, payments
from tests.servers import kafka

LARGE = 999_700


def messages(field: Field, topic: str) -> list[Message]:
    config = {"bootstrap.servers": field.bootstrap}
    starts = dict.fromkeys(wait_for_partitions(config, topic, 10), 0)
    return list(read_to_end(config, topic, starts))


def send(field: Field, *records: dict[str, Any]) -> None:
    """Send records one by one, each with what the broker takes at the most."""
    producer = Producer({"bootstrap.servers": field.bootstrap, "batch.num.messages": 1})
    for record in records:
        producer.produce(field.topic, **record)
    assert producer.flush(30) == 0


def run(field: Field, state: str = "state", **settings: str) -> None:
    flow = field.flow("payments", state, STOP_AT_END="true", **settings)
    assert flow.wait() == 0, flow.said()


def test_none_is_too_large_and_all_say_why_in_the_words_of_connect_spring_and_streams(
    field: Field,
) -> None:
    """Too large for librdkafka's limit, for the topic's own, or only as a batch of many."""
    dlq = f"{field.topic}.dlq"
    field.create()
    kafka.create_topic(field.bootstrap, dlq, 1, **{"max.message.bytes": "4000"})
    theirs = ("__connect.errors.stage", b"TASK_PUT")
    parts = {
        "headers": {"value": b"refused", "key": b"k", "headers": [("big", b"h" * LARGE)]},
        "value": {"value": b"v" * 5_000, "key": b"k", "headers": [theirs]},
        "key": {"value": b"refused", "key": b"k" * LARGE},
    }
    send(field, *parts.values(), *({"value": b"refused" * 20} for _ in range(40)))
    raw_record.send(field.bootstrap, field.topic, b"odd", [(b"\xff", b"1"), (b"", b"2")])
    field.send(*payments(0, 99))
    run(field, KAFKA_ENABLE_AUTO_COMMIT="false", KAFKA_ENABLE_IDEMPOTENCE="true")
    # Everything is read again, and nothing is sent again.
    run(field, "lost")

    refused = field.table("quarantine/payments")
    found = messages(field, dlq)
    ids = [headers_of(message)[ID_HEADER].decode() for message in found]
    expected = refused.select(pl.format("{}/{}/0/{}", "code", "source_topic", "source_offset"))
    assert sorted(ids) == sorted(expected.to_series())
    by_offset = {
        int(id_.rpartition("/")[2]): message for id_, message in zip(ids, found, strict=True)
    }

    for offset, (part, sent) in enumerate(parts.items()):
        message, row = by_offset[offset], refused.row(offset, named=True)
        headers = headers_of(message)
        left_out = [each for each in parts if left_out_header(each) in headers]
        assert left_out == [part]
        assert message.value() == (None if part == "value" else sent["value"])
        assert message.key() == (None if part == "key" else sent["key"])
        assert ("big" in headers) == (part not in ("headers",) and "big" in dict(sent))
        kept = [(each["key"], each["value"]) for each in row["headers"] or ()]
        assert (row["key"], row["value"], kept) == (
            sent["key"], sent["value"], sent.get("headers", []),
        )  # fmt: skip
    assert by_offset[len(found) - 1].value() == b"odd"
    for offset in range(len(parts), len(found) - 1):
        assert by_offset[offset].value() == b"refused" * 20, "they fit, if not all at once"

    named = by_offset[1].headers()
    assert [value for name, value in named if name == theirs[0]] == [
        b"TASK_PUT", b"VALUE_CONVERTER",
    ]  # fmt: skip
    headers = dict(named)
    assert headers["__connect.errors.class.name"] == b"operators.avro.decode.Decoder"
    assert (
        headers["__connect.errors.exception.class.name"] == b"operators.records.rejects.Refusal"
    )
    assert headers["millstream.stage"] == b"decode"
    assert headers["millstream.code"].decode() == refused["code"][1]
    place = struct.pack(">i", 0), struct.pack(">q", 1)
    spring = [headers[f"kafka_dlt-original-{name}"] for name in ("partition", "offset")]
    assert tuple(spring) == place
    assert headers["__streams.errors.topic"].decode() == field.topic
    assert not any(b"vvv" in value for value in headers.values())


def test_a_topic_that_takes_not_even_the_reason_is_named_with_its_setting(field: Field) -> None:
    dlq = f"{field.topic}.dlq"
    field.create()
    kafka.create_topic(field.bootstrap, dlq, 1, **{"max.message.bytes": "300"})
    field.send(b"refused")
    flow = field.flow()
    assert flow.wait() == 1
    assert f"topic {dlq} takes no message of " in flow.said()
    assert "raise the topic's max.message.bytes" in flow.said()


@pytest.mark.parametrize("fault", ["compacted", "not to be made"])
def test_a_topic_that_cannot_take_them_is_named_in_one_line(field: Field, fault: str) -> None:
    """Where a topic is compacted all but a key's last alert are lost; one without key stops it."""
    field.create()
    dlq = f"{field.topic}.dlq"
    if fault == "compacted":
        kafka.create_topic(field.bootstrap, dlq, 1, **{"cleanup.policy": "compact"})
    else:
        # Kafka refuses names that differ in dots and underscores alone.
        kafka.create_topic(field.bootstrap, dlq.replace(".", "_"), 1)
    flow = field.flow()
    assert flow.wait() == 1
    (line,) = [each for each in flow.said().splitlines() if each.startswith("millstream: ")]
    assert f"topic {dlq} " in line
    assert "cleanup.policy" in line
    assert "Traceback" not in flow.said()
