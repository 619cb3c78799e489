"""What schemas refer to, and what is registered that is no record."""

import json
from typing import Any

import pytest

from operators.avro.compile import compile_record
from operators.connectors.registry.client import RegistryClient
from tests.operators.connectors.registry_server import Registry

COUNTRY = {"type": "enum", "name": "Country", "namespace": "geo", "symbols": ["BE"]}


def referring(server: Registry, subject: str, schema: Any, *to: tuple[str, str]) -> int:
    named = [{"name": name, "subject": where, "version": 1} for name, where in to]
    return server.add(subject, {"schema": json.dumps(schema), "references": named})


def test_references_are_put_in_place_also_of_deleted_versions(
    server: Registry, client: RegistryClient
) -> None:
    place = {
        "type": "record",
        "name": "geo.Place",
        "fields": [{"name": "country", "type": "Country"}],
    }
    payment = {
        "type": "record",
        "name": "Payment",
        "namespace": "millstream",
        "fields": [
            {"name": "first", "type": ["null", "geo.Place"]},
            {"name": "all", "type": {"type": "array", "items": "geo.Country"}},
        ],
    }
    referring(server, "country", COUNTRY)
    referring(server, "place", place, ("geo.Country", "country"))
    number = referring(
        server, "payment", payment, ("geo.Place", "place"), ("geo.Country", "country")
    )
    server.store.deleted |= {("country", "1"), ("place", "1")}
    found = client.fetch(number)
    whole = place | {"fields": [{"name": "country", "type": COUNTRY}]}
    assert found["fields"][0]["type"] == ["null", whole]
    assert found["fields"][1]["type"]["items"] == "geo.Country"
    compile_record(found)


def test_a_reference_to_what_is_gone_for_good_is_named(
    server: Registry, client: RegistryClient
) -> None:
    number = referring(server, "place", {"type": "record"}, ("geo.Country", "country"))
    with pytest.raises(KeyError, match="version 1 of subject country"):
        client.fetch(number)


def test_other_kinds_of_schema_are_no_record(server: Registry, client: RegistryClient) -> None:
    number = server.add("x", {"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"})
    assert client.fetch(number) == {"type": "PROTOBUF"}
    number = server.add("y", {"schema": '{"type": "object"}', "schemaType": "JSON"})
    assert client.fetch(number) == {"type": "object"}


@pytest.mark.parametrize(
    "text", ['"string"', "[]", "nonsense", '{"type": "record"}', "[" * 5000 + "]" * 5000]
)
def test_a_schema_that_is_none_is_data_and_no_reason_to_stop(
    server: Registry, client: RegistryClient, text: str
) -> None:
    referring(server, "country", COUNTRY)
    reference = {"name": "geo.Country", "subject": "country", "version": 1}
    server.store.schemas[7] = {"schema": text, "references": [reference]}
    with pytest.raises(ValueError, match="schema"):
        compile_record(client.fetch(7))
