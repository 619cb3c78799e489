"""Drift: which schema is none of the versions here, what is said of it, and when."""

import io
from typing import Any

import fastavro

import schemas
from operators.avro import Decoder
from operators.avro.drift import Drift, drift_of

VERSIONS = [schemas.load("payment", version) for version in (1, 2)]
NEWEST = VERSIONS[-1]


def changed(*added: dict[str, Any], without: str = "", **more: Any) -> dict[str, Any]:
    kept = [field for field in NEWEST["fields"] if field["name"] != without]
    return NEWEST | {"fields": [*kept, *added]} | more


def told(schema: Any) -> str:
    return str(drift_of(7, schema, VERSIONS, ""))


def test_a_version_is_no_drift_and_neither_are_words_about_it() -> None:
    reworded = [{**field, "doc": "Said otherwise."} for field in VERSIONS[0]["fields"]]
    for schema in (*VERSIONS, VERSIONS[0] | {"fields": reworded, "doc": "Payments."}):
        assert drift_of(7, schema, VERSIONS, "") is None
    (channel,) = (each for each in NEWEST["fields"] if each["name"] == "channel")
    in_full = channel["type"] | {"name": f"{NEWEST['namespace']}.{channel['type']['name']}"}
    fields = [
        each | ({"type": in_full} if each is channel else {}) for each in NEWEST["fields"]
    ]
    assert drift_of(7, NEWEST | {"fields": fields}, VERSIONS, "") is None


def test_what_differs_is_told_field_by_field() -> None:
    points = {"name": "points", "type": ["null", "long"], "default": None}
    amount = {"name": "amount_minor", "type": "int"}
    assert told(changed(points)) == (
        "schema id 7 is no version here: + points (null | long, default null); "
        "its records are read, new fields kept in _rest"
    )
    assert told(changed(amount, without="amount_minor")) == (
        "schema id 7 is no version here: ~ amount_minor (type long → int); its records are read"
    )
    assert "- country (string)" in told(changed(without="country"))
    assert drift_of(7, "string", VERSIONS, "the schema is not a record") == Drift(
        7, (), "the schema is not a record", version=2
    )


def test_a_decoder_says_of_each_batch_what_drifts_and_what_is_new() -> None:
    read = changed({"name": "points", "type": "int"})
    refused = changed(without="country")
    known = {1: NEWEST, 2: read, 3: refused}
    record = {
        "payment_id": "p", "event_time": 0, "card_id": "c", "customer_id": "u",
        "terminal_id": "t", "amount_minor": 5, "currency": "EUR", "merchant_category": "5411",
        "country": "BE", "latitude": None, "longitude": None, "channel": "POS",
        "device_id": None, "recurring": True, "points": 3,
    }  # fmt: skip

    def value(number: int) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(known[number]), record)
        return b"\0" + number.to_bytes(4, "big") + out.getvalue()

    decoder = Decoder(NEWEST, known.__getitem__, VERSIONS)
    found = [
        decoder.decode([value(number) for number in numbers], [None] * len(numbers))
        for numbers in ((1, 1), (2, 1, 2), (3, 2))
    ]
    assert [
        [(d.drift.schema_id, d.drift.outcome, len(d.rows), d.first) for d in each.drifted]
        for each in found
    ] == [[], [(2, "read", 2, True)], [(3, "refused", 1, True), (2, "read", 1, False)]]
    assert [refusal.code for refusal in found[2].refusals] == ["incompatible_schema"]
    (drift, *_), *_ = found[2].drifted
    assert drift.refused == "field country: not written, and has no default"
    assert not Decoder(NEWEST, known.__getitem__).decode([value(2)], [None]).drifted
