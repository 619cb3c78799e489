"""What becomes of columns, notes and records, by what is declared."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contracts import ContractError, load_privacy, read_contract
from operators.privacy import Declared, Guard, KeyRing, NoKeyError, Privacy, opened
from operators.records.columns import KEY_ID, RAW_COLUMNS
from tests.operators.privacy.test_keys import ONE, RING, TWO

TAGS = {"card_id": "identifier", "device_id": "device", "latitude": "place"}


def guard(**declared: object) -> Guard:
    return Guard(Privacy(TAGS, Declared.model_validate(declared)), RING)


def test_each_treatment_of_a_column_and_what_is_not_tagged_stays():
    rows = pl.DataFrame(
        {
            "card_id": ["card-7", None, "card-7", ""],
            "device_id": ["123456789", "12345678", "", None],
            "latitude": [1.5, None, 2.5, 3.5],
            "terminal_id": ["t"] * 4,
        }
    )
    made = guard(silver={"identifier": "token", "device": "mask", "place": "mask"})
    found = made.rows("silver", rows)
    token = RING.oldest.token("card_id", "card-7")
    empty = RING.oldest.token("card_id", "")
    assert found["card_id"].to_list() == [token, None, token, empty]
    assert found["device_id"].to_list() == ["****6789", "****", "****", None]
    assert found["latitude"].to_list() == [None] * 4
    assert found.schema == rows.schema
    assert found["terminal_id"].to_list() == ["t"] * 4
    assert made.value("silver", "card_id", "card-7") == token
    assert made.value("silver", "terminal_id", "t") == "t"

    hidden = guard(silver={"identifier": "encrypt"}).rows("silver", rows)["card_id"].to_list()
    assert hidden[0] == hidden[2] != "card-7"
    assert RING.shown("card_id", hidden[0]) == "card-7"
    assert guard().rows("silver", rows) is rows


def test_what_a_repair_has_noted_is_hidden_with_its_field():
    notes = [
        {"field": "card_id", "was": " card-7", "by": ["trim"]},
        {"field": "latitude", "was": 1.5, "by": ["default"]},
        {"field": "currency", "was": "eur", "by": ["upper_case"]},
    ]
    series = pl.Series("repairs", [None, json.dumps(notes)])
    found = guard(silver={"identifier": "token", "place": "mask"}).noted(series)
    assert found[0] is None
    was = [each["was"] for each in json.loads(found[1])]
    assert was == [RING.oldest.token("card_id", " card-7"), None, "eur"]
    assert guard().noted(series) is series


def records(values: list[bytes | None], headers: object) -> pl.DataFrame:
    n = len(values)
    columns = {
        "source_topic": ["t"] * n, "source_partition": [0] * n, "source_offset": range(n),
        "kafka_timestamp": [None] * n, "key": values, "value": values[::-1],
        "headers": [headers] * n,
    }  # fmt: skip
    return pl.DataFrame(columns, schema=RAW_COLUMNS)


@given(st.lists(st.none() | st.binary(max_size=9), max_size=5))
def test_records_come_back_as_they_were_by_whichever_key_and_in_their_order(values):
    headers = [
        {"key": "k", "value": b"x"},
        {"key": "k", "value": None},
        {"key": "", "value": b""},
    ]
    rows = records(values, headers)
    new = guard(bronze="encrypt").sealed("bronze", rows)
    assert set(new[KEY_ID]) <= {"b"}
    old = Guard(Privacy({}, Declared(bronze="encrypt")), KeyRing.parse(f"a:{ONE}"))
    plain = rows.with_columns(pl.lit(None, pl.String).alias(KEY_ID))
    parts = [
        each[n : n + 1] for n, each in enumerate([new, old.sealed("bronze", rows), plain] * 2)
    ]
    mixed = pl.concat(parts)
    assert opened(new, RING).equals(rows)
    assert opened(mixed, RING).equals(rows[: len(mixed)])
    assert opened(rows, KeyRing.parse("")) is rows
    assert guard().sealed("bronze", rows) is rows


def test_what_was_moved_to_another_record_or_column_is_not_decrypted():
    rows = guard(bronze="encrypt").sealed("bronze", records([b"a", b"b"], None))
    with pytest.raises(NoKeyError):
        opened(rows.with_columns(source_offset=pl.lit(5, pl.Int64)), RING)
    with pytest.raises(NoKeyError):
        opened(rows.with_columns(key="value"), RING)
    with pytest.raises(NoKeyError, match="key b, which is not at hand"):
        opened(rows, KeyRing.parse(f"c:{TWO}"))


SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "card_id", "type": "string", "pii": "identifier"},
        {"name": "age", "type": "int", "pii": "age"},
        {"name": "note", "type": ["null", "string"]},
    ],
}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pii: {nobody: x}", "pii: the schema has no nobody"),
        ("pii: {card_id: other}", "pii: card_id is tagged identifier by the schema"),
        ("privacy: {silver: {what: token}}", "privacy.silver: no field is tagged what"),
        ("privacy: {silver: {age: token}}", "token is for texts, and age is of type int"),
        ("privacy: {alerts: {age: mask}}", "age is of type int and never null"),
        ("privacy: {silver: {identifier: hash}}", "'token', 'mask' or 'encrypt'"),
        ("privacy: {bronze: mask}", "'keep' or 'encrypt'"),
    ],
)
def test_a_contract_that_declares_what_cannot_be_is_refused(text, why):
    with pytest.raises(ContractError, match=why):
        read_contract(f"checks: []\n{text}", SCHEMA, "r/contract.yaml")


def test_tags_are_those_of_the_schema_and_of_the_contract():
    text = "checks: []\npii: {note: free}\nprivacy: {silver: {free: mask, identifier: encrypt}}"
    read_contract(text, SCHEMA, "r/contract.yaml")
    tagged = load_privacy("payment").tags
    assert tagged == {
        "card_id": "identifier", "customer_id": "identifier", "device_id": "device"
    }  # fmt: skip
    assert not load_privacy("payment").needs_key
    assert list(tagged) == [
        each for each in ("payment_id", "card_id", "customer_id", "device_id") if each in tagged
    ]
