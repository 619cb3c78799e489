"""The local stack's registry: what Confluent's client and serializers make of it."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from uuid import UUID

import fastavro
import pytest
from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

import schemas
from flows.streams import STREAMS
from operators.avro import Decoder
from operators.connectors.registry.schema_source import open_registry
from ops.registry import Registry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAYMENT = {
    "payment_id": "one", "event_time": NOW, "card_id": "card", "customer_id": "customer",
    "terminal_id": "terminal", "amount_minor": 1, "currency": "EUR", "country": "BE",
    "merchant_category": "5411", "latitude": None, "longitude": None, "channel": "POS",
    "device_id": None, "recurring": False,
}  # fmt: skip


@pytest.fixture
def url() -> Iterator[str]:
    server = Registry(0)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": url}) as client:
        yield client


def context(topic: str, headers: Any = None) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE, headers)


def test_it_has_the_packaged_schemas_under_the_topics_of_the_flows(
    client: SchemaRegistryClient,
) -> None:
    assert client.get_subjects() == sorted(f"{stream.name}-value" for stream in STREAMS)
    assert client.get_versions("payments-value") == [1, 2]
    for record, subject in (("payment", "payments-value"), ("chargeback", "chargebacks-value")):
        for version in schemas.versions(record):
            found = client.get_version(subject, version)
            assert found.schema_id == schemas.local_id(record, version) < 2**31
            assert client.get_schema(schemas.former_id(record, version)) == found.schema
            assert UUID(found.guid) == schemas.local_guid(record, version)
            assert json.loads(found.schema.schema_str) == schemas.load(record, version)
            assert client.get_schema(found.schema_id) == found.schema
            assert client.get_schema_by_guid(found.guid) == found.schema
            again = client.register_schema(subject, found.schema)
            assert again == found.schema_id
            assert client.lookup_schema(subject, found.schema).version == version
    assert client.get_latest_version("payments-value").version == 2
    assert client.get_compatibility() == client.get_compatibility("payments-value") == "NONE"
    number = schemas.local_id("payment", 1)
    assert client.get_subjects_by_schema_id(number) == ["payments-value"]
    (version,) = client.get_schema_versions(number)
    assert (version.subject, version.version) == ("payments-value", 1)


@pytest.mark.parametrize("in_header", [False, True])
@pytest.mark.parametrize("version", schemas.versions("payment"))
def test_what_confluents_serializer_writes_is_decoded_and_the_other_way_round(
    url: str, client: SchemaRegistryClient, version: int, in_header: bool
) -> None:
    text = json.dumps(schemas.load("payment", version))
    conf = {"schema.id.serializer": header_schema_id_serializer} if in_header else None
    to = context("payments", headers := [])
    value = AvroSerializer(client, text, conf=conf)(PAYMENT, to)
    assert len(headers) == in_header
    decoder = Decoder(schemas.latest("payment"), open_registry(url))
    decoded = decoder.decode([value], [headers])
    assert decoded.refusals == []
    assert decoded.frame["payment_id"].to_list() == ["one"]
    back = AvroDeserializer(client)(value, to)
    assert back is not None
    assert back["event_time"] == NOW


def test_what_is_registered_besides_is_found_also_by_the_flow(
    url: str, client: SchemaRegistryClient
) -> None:
    """And has the same id when it is registered anew after a restart."""
    country = {"type": "enum", "name": "geo.Country", "symbols": ["BE"]}
    client.register_schema("country", Schema(json.dumps(country), "AVRO"))
    text = json.dumps(
        {"type": "record", "name": "P", "fields": [{"name": "c", "type": "geo.Country"}]}
    )
    schema = Schema(text, "AVRO", [SchemaReference("geo.Country", "country", 1)])
    number = client.register_schema("elsewhere-value", schema)
    assert number < 2**31
    assert number == client.register_schema("another", schema)
    found = open_registry(url)(number)
    assert found["fields"][0]["type"] == country
    fastavro.parse_schema(found)
    server = Registry(0)
    assert server.store.register("x", schema.to_dict()) == number
    server.server_close()


def test_what_it_has_not_is_said_in_confluents_codes(
    url: str, client: SchemaRegistryClient
) -> None:
    unknown = Schema('"string"', "AVRO")
    for code, call in (
        (40401, lambda: client.get_latest_version("nothing")),
        (40401, lambda: client.get_versions("nothing")),
        (40401, lambda: client.lookup_schema("nothing", unknown)),
        (40402, lambda: client.get_version("payments-value", 3)),
        (40403, lambda: client.get_schema(1)),
        (40403, lambda: client.get_schema_by_guid(str(UUID(int=1)))),
        (40403, lambda: client.lookup_schema("payments-value", unknown)),
        (42201, lambda: client.register_schema("x", Schema("{", "AVRO"))),
        (404, lambda: client.get_contexts()),
    ):
        with pytest.raises(SchemaRegistryError) as raised:
            call()
        assert raised.value.error_code == code
    for path, data in (("/schemas/ids/x", None), ("/elsewhere", b"{}"), ("/subjects/x", b"{")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url + path, data, timeout=5)
        assert refused.value.code in (404, 422)
        refused.value.close()
