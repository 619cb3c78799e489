"""Which refused records are a person's: by their field, or by bytes where it does not decode."""

import polars as pl

import schemas
from operators.avro.explain import Explainer
from operators.records.columns import RAW_COLUMNS
from ops.forget.holder import Holder
from tests.field.topic import payment

GOOD = payment(1, customer_id="C-1")
AT = GOOD.index(b"C-1")


def has(value: bytes | None, key: bytes | None = None, *, of_key: bool = False) -> bool:
    found = {schemas.local_id("payment", n): schemas.load("payment", n) for n in (1, 2)}
    holder = Holder("customer_id", "C-1", Explainer(found.__getitem__), of_key=of_key)
    row = dict.fromkeys(RAW_COLUMNS) | {"key": key, "value": value}
    (told,) = holder(pl.DataFrame([row], schema=RAW_COLUMNS))
    return bool(told)


def test_a_field_that_decodes_decides() -> None:
    assert has(GOOD)
    assert has(payment(1, customer_id="C-1", currency="?"))
    assert has(GOOD[: AT + 4]), "what comes behind it does not decode"
    assert not has(payment(1, customer_id="C-2"))
    assert not has(payment(1, customer_id="C-11"))
    assert not has(payment(1, customer_id="C-2", card_id="C-1")), "it is another field's"


def test_bytes_decide_where_it_does_not() -> None:
    unknown = b"\0\0\0\0\7" + GOOD[5:]
    assert has(unknown)
    assert not has(unknown.replace(b"\6C-1", b"\6C-2"))
    assert not has(unknown.replace(b"\6C-1", b"\10C-11"))
    assert has(b'{"customer_id": "C-1"}')
    assert not has(b'{"customer_id": "C-11"}')
    assert not has(b'{"customer_id": "XC-1"}')
    assert has(b"C-1")
    assert not has(None)
    assert not has(b"")


def test_a_key_decides_where_it_is_the_fields() -> None:
    assert has(b"junk", b"C-1", of_key=True)
    assert not has(b"junk", b"C-1")
    assert not has(b"junk", b"C-11", of_key=True)
