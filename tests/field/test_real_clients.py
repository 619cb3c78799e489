"""What others write and read: Confluent's serializers, Kafka's console consumer, and whatever
bytes a topic may hold, all in one run of the flow."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

import schemas
from flows.messages import reject_messages
from ops.local import Stack
from ops.processes import ServerError
from tests.field.topic import NOON, Field
from tests.flows.test_messages import rejects
from tests.fuzz.mutations import mutated
from tests.fuzz.subjects import SUBJECTS
from tests.operators.avro.payments import payment
from tests.servers import kafka

MUTATED = 12_000
READ = 50
PAYMENT = payment(event_time=NOON, latitude=None)
AS_JSON = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Payment",
    "type": "object",
    "properties": {"payment_id": {"type": "string"}, "amount_minor": {"type": "integer"}},
}


@pytest.fixture(scope="module")
def run(
    stack: Stack, apache: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Field, list[bytes | None]]:
    """Give a topic that a flow has read to its end, with the values that it has."""
    field = Field(stack, apache, tmp_path_factory.mktemp("clients"))
    field.create()
    values = written_by_confluent(field)
    values += mutated(SUBJECTS["payments"].good(500), MUTATED, np.random.default_rng(12))
    field.send(*values)
    flow = field.flow(
        SCHEMA_REGISTRY=stack.registry_url, STOP_AT_END="true", MAX_REJECT_RATIO="1"
    )
    assert flow.wait() == 0, flow.said()
    return field, values


def written_by_confluent(field: Field) -> list[bytes | None]:
    """Return a payment in Avro and one in JSON, as Confluent's serializers write them."""
    context = SerializationContext(field.topic, MessageField.VALUE)
    with SchemaRegistryClient({"url": field.stack.registry_url}) as client:
        avro = AvroSerializer(client, json.dumps(schemas.latest("payment")))
        as_json = JSONSerializer(json.dumps(AS_JSON), client)
        return [
            avro(PAYMENT, context),
            as_json({"payment_id": "p", "amount_minor": 1}, context),
        ]


def test_every_payload_is_in_silver_or_in_the_quarantine_once(run: Any) -> None:
    field, values = run
    tables = {name: field.table(f"{name}/payments") for name in ("silver", "quarantine")}
    twice = field.table("silver/duplicates")
    places = [table["source_offset"].to_list() for table in (*tables.values(), twice)]
    assert sorted(offset for each in places for offset in each) == list(range(len(values)))
    bronze = field.table("bronze/payments")
    assert bronze["value"].to_list() == values
    refused = tables["quarantine"]
    assert refused["value"].to_list() == [values[at] for at in refused["source_offset"]]
    assert set(refused["code"]) >= {"malformed", "bad_utf8", "unknown_schema", "null_value"}


def test_confluents_avro_is_read_and_its_json_schema_is_refused_as_such(run: Any) -> None:
    field, _ = run
    first = field.table("silver/payments").row(0, named=True)
    assert first["source_offset"] == 0
    assert {name: first[name] for name in PAYMENT} == PAYMENT
    refused = field.table("quarantine/payments").row(0, named=True)
    assert refused["source_offset"] == 1
    assert refused["code"] == "incompatible_schema"
    assert (
        refused["message"] == "The writer's schema cannot be read: the schema is not a record."
    )


@pytest.fixture(scope="module")
def tools() -> Path:
    """Give the folder with others' jars."""
    try:
        return kafka.tool_jars()
    except ServerError as error:  # Maven Central is away, or has not been asked before
        pytest.skip(str(error))


@pytest.mark.usefixtures("tools")
def test_kafkas_console_consumer_reads_the_dead_letters(run: Any) -> None:
    field, _ = run
    said = kafka.consumed(field.bootstrap, f"{field.topic}.dlq", READ)
    lines = [each for each in said.split(b"\n") if each.startswith(b"Offset:")]
    assert len(lines) == READ
    refused = field.table("quarantine/payments")
    codes = dict(zip(refused["source_offset"], refused["code"], strict=True))
    for line in lines:
        headers = dict(re.findall(rb"([\w.-]+):([^,\t]*)", line))
        offset = int(headers[b"__connect.errors.offset"])
        assert headers[b"millstream.code"].decode() == codes.pop(offset)
        assert headers[b"__connect.errors.topic"].decode() == field.topic


NAMED = {
    # KIP-298, errors.deadletterqueue.context.headers.enable
    "__connect.errors.": (
        "connect-runtime",
        "org/apache/kafka/connect/runtime/errors/DeadLetterQueueReporter.class",
    ),
    # KIP-1034
    "__streams.errors.": (
        "kafka-streams",
        "org/apache/kafka/streams/errors/internals/ExceptionHandlerUtils.class",
    ),
    # Spring for Apache Kafka, "Dead-letter Record Processing"
    "kafka_dlt-": ("spring-kafka", "org/springframework/kafka/support/KafkaHeaders.class"),
}


@pytest.mark.skipif(kafka.missing_own() is not None, reason=str(kafka.missing_own()))
@pytest.mark.parametrize("prefix", NAMED)
def test_headers_have_the_names_that_their_tools_own_classes_have(
    prefix: str, tools: Path
) -> None:
    (message,) = reject_messages(rejects())
    ours = {name for name, _ in message.headers if name.startswith(prefix)}
    jar, name = NAMED[prefix]
    (path,) = tools.glob(f"{jar}-*.jar")
    with zipfile.ZipFile(path) as archive:
        # A class has its constants as they are, each with its length before it.
        constants = archive.read(name)
    for each in ours:
        assert len(each).to_bytes(2, "big") + each.encode() in constants, each
    assert len(ours) >= 5
