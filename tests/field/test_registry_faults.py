"""Schema registries as they fail."""

import json
import re
import signal
import ssl
import struct
from pathlib import Path
from typing import Any

from deltalake.exceptions import TableNotFoundError

import schemas
from operators.connectors.registry import schema_source as registry
from tests.field.topic import Field, offsets, payments
from tests.operators.connectors.registry_server import serving
from tests.running import wait_until
from tests.servers.certificates import Authority
from tests.servers.ports import lasting_port

PAYMENT = json.dumps(schemas.latest("payment"))


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
