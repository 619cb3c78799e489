"""Schema registries as they fail, and as others than Confluent's are."""

import json
import re
import shutil
import signal
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError
from deltalake.exceptions import TableNotFoundError

import schemas
from flows.settings import PREFIX
from operators.connectors.registry import schema_source as registry
from ops import cli
from tests.field.topic import NOON, Field, offsets, payment, payments
from tests.flows.enforced import ORDER, READING, reading, there
from tests.flows.enforced import settings as enforcing
from tests.operators.connectors.registry_server import serving
from tests.running import run, wait_until
from tests.servers import kafka
from tests.servers.apicurio import apicurio
from tests.servers.certificates import Authority
from tests.servers.ports import lasting_port

PAYMENT = json.dumps(schemas.latest("payment"))
# What a payment's fields are when they are written by Confluent's serializer.
FIELDS = {
    "event_time": NOON, "card_id": "card", "customer_id": "customer", "terminal_id": "terminal",
    "amount_minor": 1, "currency": "EUR", "merchant_category": "5411", "country": "BE",
    "latitude": None, "longitude": None, "channel": "POS", "device_id": None,
    "recurring": False,
}  # fmt: skip


def by(schema_id: int, *values: bytes) -> list[bytes]:
    """Return payments as if written with the schema of an id."""
    return [struct.pack(">bI", 0, schema_id) + value[5:] for value in values]


def referring() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the payments' schema with its channel in a schema of its own, and that one."""
    schema = schemas.latest("payment")
    (channel,) = (field for field in schema["fields"] if field["name"] == "channel")
    apart = channel["type"]
    name = f"{schema['namespace']}.{apart['name']}"
    channel["type"] = name
    return schema, apart | {"name": name}


def named(schema: Any, *references: tuple[str, str]) -> dict[str, Any]:
    to = [{"name": name, "subject": subject, "version": 1} for name, subject in references]
    return {"schema": json.dumps(schema), "references": to}


def test_a_schema_after_its_records_one_that_refers_to_a_deleted_one_one_that_is_new_and_none(
    field: Field,
) -> None:
    field.create()
    with serving() as server:
        schema, channel = referring()
        server.add("channel", named(channel))
        server.store.deleted.add(("channel", "1"))
        points = {"name": "points", "type": ["null", "long"], "default": None}
        newer = schema | {"fields": [*schemas.latest("payment")["fields"], points]}
        more = server.add("payments-value", named(newer))
        old = server.add("payments-value", named(schema, (channel["name"], "channel")))
        soon, never = old + 1, old + 2
        field.send(*by(old, *payments(0, 2)), *by(soon, *payments(3, 5)))
        field.send(*by(never, *payments(6, 6)), *by(old, *payments(7, 8)))
        field.send(*by(more, *(value + b"\2\4" for value in payments(9, 10))))
        flow = field.flow(SCHEMA_REGISTRY=server.url, STOP_AT_END="true")
        wait_until(lambda: f"schema id {soon} is not at" in flow.said())
        assert server.add("payments-value", {"schema": PAYMENT}) == soon
        assert flow.wait() == 0, flow.said()
    assert offsets(field.table("silver/payments")) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    drifts = [line for line in flow.said().splitlines() if "is no version here" in line]
    (drift,) = drifts
    assert drift.endswith(
        f"topic {field.topic}: schema id {more} is no version here: + points (null | long, default "
        "null); its records are read, new fields kept in _rest"
    )
    refused = field.table("quarantine/payments")
    assert offsets(refused) == [6]
    assert refused["code"].to_list() == ["unknown_schema"]


def test_a_registry_that_goes_away_comes_back_and_is_made_anew(field: Field) -> None:
    field.create()
    port = lasting_port()
    settings = {"SCHEMA_REGISTRY": f"http://127.0.0.1:{port}", "REPORT_EVERY": "1s"}

    def silver() -> list[int]:
        try:
            return offsets(field.table("silver/payments"))
        except TableNotFoundError:
            return []

    with serving(port) as server:
        registry.register(server.url, None, "payment", field.topic)
        field.send(*by(2, *payments(0, 2)))
        flow = field.flow(**settings)
        wait_until(lambda: silver() == [0, 1, 2])
        assert flow.tell(signal.SIGTERM) == 0, flow.said()

    # A restart goes on with what is known, and waits for what is not, unless told to end.
    field.send(*by(2, *payments(3, 5)))
    flow = field.flow(**settings)
    wait_until(lambda: silver() == [0, 1, 2, 3, 4, 5])
    assert "going on without it, with the 1 schemas" in flow.said()
    field.send(*by(3, *payments(6, 6)), *by(2, *payments(7, 7)))
    # It has read the one that it can't decode: that is the first of the two.
    wait_until(lambda: re.search("; [45] records since the start", flow.said()))
    assert flow.process.poll() is None
    assert flow.tell(signal.SIGTERM) == 1
    assert "nothing is lost" in flow.said()
    assert flow.said().count("waiting for schema registry") == 1

    flow = field.flow(**settings)
    wait_until(lambda: flow.said().count("going on without it") == 2)
    with serving(port) as server:
        registry.register(server.url, None, "payment", field.topic)
        server.store.schemas[3] = server.store.schemas[2]
        wait_until(lambda: silver() == [0, 1, 2, 3, 4, 5, 6, 7])
        assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert "is back after" in flow.said()
    assert flow.said().count("waiting for schema registry") == 2

    with serving(port) as server:
        registry.register(server.url, None, "chargeback", field.topic)
        server.store.schemas[2] = server.store.schemas[3] = server.store.schemas[1]
        flow = field.flow(**settings)
        assert flow.wait() == 1
    assert "id 2 is another schema than the one that this flow has read" in flow.said()
    assert "Traceback" not in flow.said()


def test_a_registry_with_a_private_ca_client_certificates_and_tokens(
    field: Field, tmp_path: Path
) -> None:
    field.create()
    field.send(*by(2, *payments(0, 2)))
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("server"))
    tls.load_verify_locations(authority.ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client", "key's password")
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = {
        "SCHEMA_REGISTRY_CERTIFICATE_LOCATION": str(certificate),
        "SCHEMA_REGISTRY_KEY_LOCATION": str(key),
        "SCHEMA_REGISTRY_KEY_PASSWORD": "key's password",
        "SCHEMA_REGISTRY_TOKEN_FILE": str(token),
        "STOP_AT_END": "true",
    }
    with serving(tls=tls) as server:
        server.store.register("x", {"schema": '"string"'})
        assert server.add("payments-value", {"schema": PAYMENT}) == 2
        server.authorization = "Bearer s3cret"
        settings["SCHEMA_REGISTRY"] = server.url
        flow = field.flow(START_TIMEOUT="4s", **settings)
        assert flow.wait() == 1
        assert "CERTIFICATE_VERIFY_FAILED" in flow.said()
        assert "settings that begin with MILLSTREAM_SCHEMA_REGISTRY" in flow.said()
        settings["SCHEMA_REGISTRY_CA_LOCATION"] = str(authority.ca)
        flow = field.flow(**settings)
        assert flow.wait() == 0, flow.said()
    assert offsets(field.table("silver/payments")) == [0, 1, 2]
    assert "s3cret" not in flow.said()


def test_a_password_that_is_wrong_is_said_at_once_and_not_shown(field: Field) -> None:
    field.create()
    with serving() as server:
        server.authorization = "Basic another"
        url = server.url.replace("//", "//reader:s3/cr@t:@")
        flow = field.flow(SCHEMA_REGISTRY=url)
        assert flow.wait() == 1
    assert _lines(flow.said()) == [
        f"millstream: schema registry {server.url}: HTTP 401: Unauthorized; check "
        "MILLSTREAM_SCHEMA_REGISTRY_USER or MILLSTREAM_SCHEMA_REGISTRY_TOKEN, and what they may "
        "read"
    ]


def test_settings_of_a_registry_that_cannot_be_used_are_all_named(
    field: Field, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "payment").mkdir(parents=True)
    (tmp_path / "mine" / "payment" / "1.avsc").write_text("{")
    flow = field.flow(
        SCHEMA_REGISTRY=str(tmp_path / "mine"),
        SCHEMA_REGISTRY_USER="s3cret",
        SCHEMA_REGISTRY_CA_LOCATION="/no/ca.pem",
        SCHEMA_REGISTRY_KEY_LOCATION=str(tmp_path),
    )
    assert flow.wait() == 2
    broken, user, ca, key = _lines(flow.said())
    assert "SCHEMA_REGISTRY: " in broken
    assert "1.avsc: Expecting property name" in broken
    assert user.endswith("SCHEMA_REGISTRY_USER: must be user:password")
    assert ca.endswith("SCHEMA_REGISTRY_CA_LOCATION: there is no file /no/ca.pem")
    assert key.endswith("there is no MILLSTREAM_SCHEMA_REGISTRY_CERTIFICATE_LOCATION")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    flow = field.flow(
        SCHEMA_REGISTRY="https://127.0.0.1:1", SCHEMA_REGISTRY_CA_LOCATION=str(text)
    )
    field.create()
    assert flow.wait() == 2
    assert "certificates or their key cannot be read" in _lines(flow.said())[-1]
    assert "Traceback" not in flow.said()


def _lines(said: str) -> list[str]:
    """Return the lines that a flow ended with."""
    return [line for line in said.splitlines() if line.startswith("millstream: ")]


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
