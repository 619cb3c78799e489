"""Schema registries of others and serializers of others: what they write is read as any other."""

import json
import shutil
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

import schemas
from flows.settings import PREFIX
from ops import cli
from tests.field.topic import NOON, Field, offsets, payment
from tests.flows.enforced import ORDER, READING, reading, there
from tests.flows.enforced import settings as enforcing
from tests.running import run
from tests.servers import kafka
from tests.servers.apicurio import apicurio

PAYMENT = json.dumps(schemas.latest("payment"))
# What a payment's fields are when they are written by Confluent's serializer.
FIELDS = {
    "event_time": NOON, "card_id": "card", "customer_id": "customer", "terminal_id": "terminal",
    "amount_minor": 1, "currency": "EUR", "merchant_category": "5411", "country": "BE",
    "latitude": None, "longitude": None, "channel": "POS", "device_id": None,
    "recurring": False,
}  # fmt: skip


def _sent_by_confluents_serializer(
    field: Field, url: str, first: int, *, in_header: bool = False
) -> int:
    """Send three payments with ids from `first` on, and return their schema's id."""
    conf = {"schema.id.serializer": header_schema_id_serializer} if in_header else None
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})
    with SchemaRegistryClient({"url": url}) as client:
        serialize = AvroSerializer(client, PAYMENT, conf=conf)
        for number in range(first, first + 3):
            headers: list[Any] = []
            context = SerializationContext(field.topic, MessageField.VALUE, headers)
            value = serialize(FIELDS | {"payment_id": f"payment-{number}"}, context)
            producer.produce(field.topic, value, headers=headers)
        assert producer.flush(30) == 0
        return int(client.get_latest_version(f"{field.topic}-value").schema_id)


def test_confluents_serializers_work_with_the_local_registry_as_it_is(field: Field) -> None:
    field.create()
    url = field.stack.registry_url
    number = _sent_by_confluents_serializer(field, url, 0)
    assert number == schemas.local_id("payment", schemas.versions("payment")[-1])
    _sent_by_confluents_serializer(field, url, 3, in_header=True)
    flow = field.flow(SCHEMA_REGISTRY=url, STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert offsets(field.table("silver/payments")) == [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of an Apicurio Registry."""
    with apicurio(tmp_path_factory.mktemp("apicurio")) as url:
        yield url


def test_apicurio_takes_the_packaged_schemas_and_gives_them_back(
    registered: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SCHEMA_REGISTRY", registered)

    def millstream(*arguments: str) -> list[str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["schemas", *arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out.splitlines()

    lines = millstream("register")
    # The customers' topic has the envelope of whoever reads their database.
    of = [each for each in schemas.records() if each != "customer"]
    assert len(lines) == sum(len(schemas.versions(each)) for each in of)
    assert millstream("register") == lines
    left = [line.split()[0] for line in millstream("list") if "not" in line]
    assert left == ["customer"]
    assert millstream("diff", "payment", "registry", "2")[0] == "no field differs"


def test_apicurio_with_confluents_serializer_and_a_number_in_the_header(
    field: Field, registered: str
) -> None:
    """It gives no GUIDs, so Confluent's header serializer cannot work with it; a number can."""
    field.create()
    number = _sent_by_confluents_serializer(field, registered, 0)
    with pytest.raises(SerializationError, match="GUID is not set"):
        _sent_by_confluents_serializer(field, registered, 3, in_header=True)
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})
    in_header = [("__value_schema_id", struct.pack(">bI", 0, number))]
    producer.produce(field.topic, payment(3)[5:], headers=in_header)
    # An id of 8 bytes, as Apicurio's own serializers may write, reads as 0; a GUID.
    producer.produce(field.topic, struct.pack(">bq", 0, number) + payment(4)[5:])
    producer.produce(field.topic, b"\1" + bytes(16) + payment(5)[5:])
    assert producer.flush(30) == 0
    flow = field.flow(SCHEMA_REGISTRY=registered, STOP_AT_END="true", MAX_REJECT_RATIO="1")
    assert flow.wait() == 0, flow.said()
    assert offsets(field.table("silver/payments")) == [0, 1, 2, 3]
    refused = field.table("quarantine/payments")
    assert refused["code"].to_list() == ["unknown_schema"] * 2
    assert "Apicurio's serializers may write ids of 8 bytes" in refused["message"][0]


def test_enforce_with_apicurio_lets_through_what_confluents_serializers_write(
    local: Field, registered: str
) -> None:
    """Avro and JSON Schema, to the validated topics as they came, and to columns of silver."""
    folder, name = local.folder, local.folder.name
    order = ORDER | {"title": "order", "required": ["order_id", "amount"]}
    own = enforcing(local.stack, folder)
    shutil.rmtree(folder / "enforced" / "heartbeats")
    contract = folder / "enforced" / "orders" / "contract.yaml"
    contract.write_text(f"topic: {name}.orders\nversion: registry\n")
    (contract.parent / "1.json").write_text(json.dumps(order))
    (contract.parent / "2.json").unlink()
    good = {"order_id": "a", "amount": 1.5, "customer": {"id": "c"}, "lines": [1]}
    values: dict[str, list[bytes]] = {}
    with SchemaRegistryClient({"url": registered}) as client:
        to = {n: SerializationContext(f"{name}.{n}", MessageField.VALUE)
              for n in ("orders", "readings", "others")}  # fmt: skip
        as_json, avro = (
            JSONSerializer(json.dumps(order), client),
            AvroSerializer(client, json.dumps(READING)),
        )
        # Whoever has registered a schema of his own is not let in by that.
        loose = JSONSerializer(json.dumps(order | {"title": "loose", "required": []}), client)
        values["orders"] = [
            as_json(good, to["orders"]),
            as_json(good | {"order_id": "b", "amount": 0.5}, to["orders"]).replace(
                b"0.5", b"-.5"
            ),
            as_json(good, to["orders"]).replace(b"1.5", b"  0"),
            loose(good, to["others"]),
        ]
        values["readings"] = [
            avro(reading(n, value=value), to["readings"]) for n, value in ((0, 5.0), (1, 200.0))
        ]
    producer = Producer({"bootstrap.servers": local.bootstrap, "log_level": 0})
    for topic, some in values.items():
        kafka.create_topic(local.bootstrap, f"{name}.{topic}", 1)
        for value in some:
            producer.produce(f"{name}.{topic}", value)
    assert producer.flush(30) == 0
    ends = own | {"MILLSTREAM_SCHEMA_REGISTRY": registered, "MILLSTREAM_STOP_AT_END": "true"}
    run("enforce", ends | {"MILLSTREAM_MAX_REJECT_RATIO": "1"}, folder / "state")
    for topic, first in (("orders", 1), ("readings", 1)):
        (passed,) = there(local.stack, f"{name}.{topic}.validated", 1)
        assert [each.value() for each in passed] == values[topic][:first]
    (row,) = local.table("silver/orders").to_dicts()
    assert (row["order_id"], row["amount"], row["customer"]["id"]) == ("a", 1.5, "c")
    (row,) = local.table("silver/readings").to_dicts()
    assert (row["sensor"], row["value"], row["place"]) == ("a", 5.0, {"room": 0})
    codes = local.table("quarantine/orders")["code"].to_list()
    assert codes == ["malformed", "schema_exclusive_minimum", "unknown_schema"]
    assert local.table("quarantine/readings")["code"].to_list() == ["value_range"]
