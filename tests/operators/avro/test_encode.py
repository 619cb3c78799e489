"""What is explained of bytes is written as those bytes again, and what is no record is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators.avro.encode import NotOfSchemaError, encode, framed
from operators.avro.explain import explain
from tests.operators.avro.payments import GUIDS, IDS, KNOWN, PAYMENTS, v0
from tests.operators.avro.payments import encode as written
from tests.operators.avro.test_explain import LOOKUPS, NESTED, order

LATEST = schemas.latest("payment")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def told(value: bytes) -> dict[str, Any]:
    found = explain(value, None, LOOKUPS.__getitem__)
    assert found.broken is None
    assert found.record is not None
    return found.record


def of_payment(**fields: Any) -> bytes:
    record = told(v0(written(example())))
    return encode(record | fields, LATEST)


def example() -> dict[str, Any]:
    return {
        "payment_id": "p", "event_time": 1_760_000_000_000_001, "card_id": "c",
        "customer_id": "u", "terminal_id": "t", "amount_minor": 5, "currency": "EUR",
        "merchant_category": "5411", "country": "BE", "latitude": None, "longitude": -0.0,
        "channel": "POS", "device_id": None, "recurring": True,
    }  # fmt: skip


@given(PAYMENTS)
def test_what_is_told_of_a_payment_is_written_as_its_bytes(payment):
    value = v0(written(payment))
    record = told(value)
    assert told(v0(encode(record, LATEST))) == record
    if "nan" not in (record["latitude"], record["longitude"]):  # one of many NaNs
        assert encode(record, LATEST) == value[5:]


@given(st.sampled_from(["a", 5, None]), st.lists(st.text(max_size=3), max_size=3))
def test_what_is_told_of_a_nested_record_is_written_as_it_was(tag, skus):
    items = [{"sku": sku, "price": b"\1", "why": None} for sku in skus]
    tags = {"x": 7, "y": 0.5} if tag is None else {}
    value = order(items=items, tags=tags, note=None if tag == 5 else "a text")
    record = told(value)
    assert told(value[:5] + encode(record, NESTED)) == record


@given(st.sampled_from([each["name"] for each in LATEST["fields"]]), JSON)
def test_whatever_is_put_in_a_field_is_written_and_told_as_it_is_or_refused(name, value):
    try:
        body = of_payment(**{name: value})
    except NotOfSchemaError as error:
        why = str(error)
    else:
        why = ""
    if why:
        assert why.startswith(f"{name}: must be ")
        return
    again = told(v0(body))[name]
    if name == "event_time":
        assert encode(told(v0(body)), LATEST) == body
    else:
        assert again == value or value != value


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"amount_minor": "secret"},
            "amount_minor: must be a number from -9223372036854775808",
        ),
        ({"amount_minor": 2**63}, "amount_minor: must be a number from"),
        ({"amount_minor": True}, "amount_minor: must be a number from"),
        ({"latitude": "secret"}, "latitude: must be null, or must be a number"),
        ({"channel": "secret"}, "channel: must be one of "),
        ({"recurring": 1}, "recurring: must be true or false"),
        ({"card_id": "\ud800"}, "card_id: must be a text of whole characters"),
        ({"event_time": "secret"}, "event_time: must be a time such as 2026-06-30T12:00"),
        ({"no_such": 1}, "there is no field no_such"),
    ],
)
def test_what_is_no_value_of_a_field_is_refused_with_its_name_and_without_the_value(
    fields, why
):
    with pytest.raises(NotOfSchemaError) as error:
        of_payment(**fields)
    assert str(error.value).startswith(why)
    assert "secret" not in str(error.value)


def test_nested_fields_are_named_and_a_missing_one_has_its_default():
    record = told(order())
    for change, why in [
        ({"items": [{"sku": "a", "price": "0", "why": None}]}, "items[0].price: must be bytes"),
        ({"items": {}}, "items: must be an array"),
        ({"tags": []}, "tags: must be a map"),
        ({"tags": {"x": "y"}}, "tags[x]: must be a number from"),
        ({"id": "01"}, "id: must be 2 bytes in hex"),
        ({"day": "30 June"}, "day: must be a day such as 2026-06-30, or a number"),
        ({"at": "2026-01-01T00:00:00.000001"}, "at: must be a time in whole milliseconds"),
        ({"none": 0}, "none: must be null"),
        ({"good": None}, "good: must be true or false"),
        ({"first": 5}, "first: must be null, or must be an object"),
    ]:
        with pytest.raises(NotOfSchemaError) as error:
            encode(record | change, NESTED)
        assert str(error.value).startswith(why)
    with pytest.raises(NotOfSchemaError, match=r"^id: is missing"):
        encode({}, NESTED)
    with pytest.raises(NotOfSchemaError, match=r"^the record: must be an object"):
        encode([], NESTED)
    without = {n: v for n, v in told(v0(written(example()))).items() if n != "device_id"}
    assert told(v0(encode(without, LATEST)))["device_id"] is None
    at_noon = encode(record | {"at": "2026-06-30T14:00+02:00", "day": 7}, NESTED)
    assert told(order()[:5] + at_noon)["at"] == "2026-06-30T12:00:00+00:00"
    deep: Any = None
    for _ in range(2_000):
        deep = {"inner": deep}
    inner = {"name": "inner", "type": ["null", "R"]}
    with pytest.raises(NotOfSchemaError, match="nested too deep"):
        encode(deep, {"type": "record", "name": "R", "fields": [inner]})


@pytest.mark.parametrize("schema_id", [IDS[2], GUIDS[2]])
def test_what_stands_before_a_body_is_found_as_its_schema(schema_id):
    found = explain(framed(schema_id) + written(example()), None, KNOWN.__getitem__)
    assert found.schema_id == schema_id
    assert found.broken is None
