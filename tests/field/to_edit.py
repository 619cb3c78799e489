"""Bad records to be edited: what is wrong with each, a flow that refuses them, and their edits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from flows.settings import PREFIX
from operators.avro.framing import ID_HEADER
from operators.records.quarantine import ATTEMPTS_HEADER
from ops.dlq import streams as dlq_streams
from tests.field import refused
from tests.field.refused import truncated
from tests.field.test_replay import know, newer, next_schema
from tests.field.test_rule_statuses import state
from tests.field.topic import Field, payment

Told = Callable[..., Any]
TRIM = '--set "country = upper(trim(country))"'
EURO = '[{"op": "replace", "path": "/currency", "value": "EUR"}]'


def refuse(field: Field) -> None:
    """Send bad records, each at the offset that is its number, and have a flow refuse them."""
    rules = field.folder / "rules"
    rules.mkdir()
    field.settings[f"{PREFIX}RULES"] = str(rules)
    know(field)
    state(rules, "numbered", when="CAST(device_id AS BIGINT) > 5")
    field.create()
    field.send(*(payment(n, currency="eur") for n in range(3)))
    field.send(payment(3, country=" be"), payment(4, country="de "))
    field.send(truncated(5), None)
    framed = payment(7, amount_minor=-5)
    producer = Producer({"bootstrap.servers": field.bootstrap})
    headers = [(ATTEMPTS_HEADER, b"2"), (ID_HEADER, framed[:5]), ("own", b"1")]
    producer.produce(field.topic, framed[5:], b"k", 0, headers=headers)
    assert producer.flush(30) == 0
    field.send(b'{"a": 1}', payment(9), payment(10, device_id="x"), newer(11))
    refused.run(field)


def outcomes(found: Any) -> dict[str, int]:
    """Return how often what a command told has each outcome."""
    return {each["outcome"]: each["count"] for each in found["outcomes"]}


def edit_countries(told: Told) -> str:
    """Edit those of 3 and 4 by an expression; return the edit."""
    (saved,) = told(f"edit --code country_format {TRIM} --save --why 'an old terminal'")[
        "saved"
    ]
    assert (saved["records"], saved["needs_approval"]) == (2, False)
    return str(saved["edit"])


def replace_whole(field: Field, told: Told, folder: Path) -> None:
    """Replace those that cannot be decoded, 5 and 6, by what can be read of 5 and the rest."""
    part, file = told(f"decode {field.topic}/0/5", 1)["record"], folder / "record.json"
    first = part | {"channel": "POS", "device_id": None}
    for number, record in (5, first), (6, part | {"payment_id": "payment-6", "channel": "POS"}):
        file.write_text(json.dumps(record))
        asked = f"edit {field.topic}/0/{number} --as {file} --save --why cut"
        assert outcomes(told(asked)) == {"silver": 1}


def edited(told: Told) -> set[int]:
    """Return the offsets of those that are edited."""
    lines = told("list --where \"state = 'edited'\" --limit 99")
    return {each["source_offset"] for each in lines}


def send_one_of_a_schema_too_new(field: Field, told: Told) -> str:
    """Send what is good by what is known here, and not to the flow that runs; return its place."""
    late = field.folder / "schemas" / "payment" / "3.avsc"
    late.write_text(json.dumps(next_schema()))
    dlq_streams.lookup.cache_clear()
    found = told("replay --send --canary 1 --code unknown_schema --wait 2m", 1)
    assert found["canary"][0]["outcome"] == "refused: decode unknown_schema"
    place = found["stopped"].partition("dlq show ")[2]
    (reason,) = told(f"show {place}")["reasons"]
    assert (reason["code"], reason["attempts"]) == ("unknown_schema", 2)
    late.unlink()
    dlq_streams.lookup.cache_clear()
    return str(place)


WRONG: list[tuple[str, str | None]] = [
    (
        '0/0 --patch \'[{"op": "replace", "path": "/currency", "value": 5}]\'',
        "not of the schema: currency: must be a text",
    ),
    ("0/0 --set \"currency = 'eu'\"", "refused: contract currency_format"),
    (
        '0/0 --patch \'[{"op": "remove", "path": "/nothing"}]\'',
        "the patch does not fit: can't remove a non-existent object 'nothing'",
    ),
    (f"0/5 --patch '{EURO}'", "cannot be decoded: replace it with --as"),
    (f"0/6 {TRIM}", "cannot be decoded: replace it with --as"),
    ("0/5 --undo", None),
]
"""Edits of a place in the topic that are not saved, and what is said of each record."""

MISTAKES = [
    ("edit --editor", 2, "--editor and --as are for one record: name it"),
    ("edit payments/0/99 --undo", 1, "no reject of payments/0/99; list shows which"),
    ("edit --set x --code y", 0, "outcome"),
    ("edit --set x", 2, "'x' is no assignment such as country = upper(country)"),
    ("edit --set 'no = 1'", 2, "there is no field no; there are payment_id, "),
    ("edit --patch nowhere.json", 1, "nowhere.json: No such file"),
    ("edit --patch '[5]'", 2, "this is no JSON patch (RFC 6902)"),
    ("edit --set 'amount_minor = currency'", 1, "conversion from `str` to `i64` failed"),
    ("approve no-such", 1, "there is no edit no-such; list --where 'edit IS NOT NULL'"),
    ("discard --why x", 2, "name a record or a filter; to mean all, --where true"),
    ("replay --rate x", 2, "x is not 1 or more"),
    ("replay --wait x", 2, "'x' is no duration such as 5m"),
]
"""Commands with their status and a part of the line that they say."""
