"""What becomes of records that are edited, against what the reference reads of them."""

import io
import json
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from flows.streams import PAYMENTS
from operators.avro.framing import ID_HEADER
from operators.connectors.delta.acts import EDITS
from operators.connectors.registry.schema_source import open_registry
from operators.records.columns import RAW_COLUMNS
from ops.dlq.changes import patch
from ops.dlq.editing import Edit, Editor, assigned, each, replaced, undone
from ops.dlq.quarantine import PLACE
from tests.field.topic import NOON, payment

LOOKUP = open_registry("", {})
SCHEMAS = {n: fastavro.parse_schema(schemas.load("payment", n)) for n in (1, 2)}
NOTHING = pl.DataFrame(schema=EDITS.schema)
FIELDS = [
    ("country", st.sampled_from(["BE", "be", "", 5, None])),
    ("amount_minor", st.sampled_from([1, -1, 2**63, "1"])),
    ("latitude", st.sampled_from([None, 1, 91.5, "nan"])),
    ("event_time", st.sampled_from([NOON.isoformat(), "noon", 0])),
]
CHANGES = st.fixed_dictionaries({}, optional=dict(FIELDS))


def rows(*values: bytes | None, state: str = "open", headers: Any = None) -> pl.DataFrame:
    """Return rejects as `matching` gives them, at offsets from 0."""
    raw = [
        {
            "source_topic": "payments", "source_partition": 0, "source_offset": offset,
            "kafka_timestamp": NOON, "key": b"k", "value": value, "headers": headers or [],
        }
        for offset, value in enumerate(values)
    ]  # fmt: skip
    return pl.DataFrame(raw, schema=RAW_COLUMNS).with_columns(
        pl.lit("contract").alias("stage"), pl.lit("x").alias("code"),
        pl.lit("x").alias("message"), pl.lit(None, pl.String).alias("schema_id"),
        pl.lit(state).alias("state"), pl.lit(None, pl.String).alias("edit"),
        pl.lit(1, pl.Int32).alias("attempts"),
    )  # fmt: skip


def propose(
    found: pl.DataFrame, edit: Edit, edits: pl.DataFrame = NOTHING
) -> list[dict[str, Any]]:
    return Editor(PAYMENTS, LOOKUP).propose(found, edits, edit).to_dicts()


def read(value: bytes, version: int = 2) -> Any:
    assert value[:5] == b"\0" + schemas.local_id("payment", version).to_bytes(4, "big")
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMAS[version])


@settings(max_examples=20)
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_an_edit_changes_what_it_says_and_nothing_else(several: list[dict[str, Any]]) -> None:
    values = [payment(n, currency="EUR") for n in range(len(several))]
    for one, fields in enumerate(several):
        operations = [
            {"op": "replace", "path": f"/{name}", "value": value}
            for name, value in fields.items()
        ]
        (found, *others) = propose(
            rows(values[one], *values), each(patch(json.dumps(operations)))
        )
        assert found["original"] == values[one]
        assert len(others) == len(values)
        if found["outcome"].startswith("not of the schema: "):
            assert any(fields.get(name) in (5, None, 2**63, "1", "noon") for name in fields)
            continue
        changed = json.loads(found["changes"])
        before = read(values[one])
        if found["outcome"] == "unchanged":
            assert changed == []
            continue
        after = read(found["value"])
        assert {n for n in after if repr(after[n]) != repr(before[n])} == {
            change["field"] for change in changed
        } <= set(fields)  # fmt: skip
        bad = (
            fields.get("country", "BE") != "BE", fields.get("amount_minor", 1) < 0,
            fields.get("latitude") is not None, fields.get("event_time") == 0,
        )  # fmt: skip
        assert (found["outcome"] == "silver") == (not any(bad)), found


def test_a_record_keeps_the_schema_that_wrote_it_and_its_id_moves_before_the_body() -> None:
    old = {k: v for k, v in read(payment(1, currency="eur")).items() if k != "recurring"}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMAS[1], old)
    head = b"\0" + schemas.local_id("payment", 1).to_bytes(4, "big")
    found = rows(out.getvalue(), headers=[{"key": ID_HEADER, "value": head}])
    (one,) = propose(found, assigned(["currency = upper(currency)"], PAYMENTS, LOOKUP))
    assert read(one["value"], 1) == old | {"currency": "EUR"}
    assert (one["outcome"], one["original"]) == ("silver", out.getvalue())
    (one,) = propose(found, assigned(["recurring = true"], PAYMENTS, LOOKUP))
    assert (one["outcome"], one["value"]) == ("its schema has no field recurring", None)


def test_an_edit_goes_on_from_the_one_before_and_undo_takes_both_back() -> None:
    value = payment(1, currency="eur", country="be")
    found = rows(value, payment(2, currency="eur"))
    (one, _) = propose(found, assigned(["country = upper(country)"], PAYMENTS, LOOKUP))
    assert one["outcome"] == "refused: contract currency_format"
    edits = pl.DataFrame([one]).select(*PLACE, "value", edit=pl.lit("first"))
    (two, other) = propose(found, each(patch('[{"op": "replace", "path": "/currency", '
                                             '"value": "EUR"}]')), edits)  # fmt: skip
    assert (two["outcome"], two["original"]) == ("silver", value)
    assert read(two["value"]) == read(payment(1))
    assert json.loads(two["changes"]) == [
        {"field": "currency", "before": "eur", "after": "EUR"}
    ]
    assert other["outcome"] == "silver"
    (back,) = undone(PAYMENTS, found, edits).to_dicts()
    assert (back["value"], back["original"], back["outcome"]) == (None, value, "as it came")
    (sent,) = undone(PAYMENTS, rows(value, state="replayed"), edits).to_dicts()
    assert sent["outcome"] == "replayed before"


@pytest.mark.parametrize("value", [None, b"", b"\0\0", b"{}", payment(1)[:-9], b"\0\0\0\0\1x"])
def test_what_does_not_decode_is_only_replaced_as_a_whole(value: bytes | None) -> None:
    for edit in (assigned(["country = 'BE'"], PAYMENTS, LOOKUP), each(patch("[]"))):
        (one,) = propose(rows(value), edit)
        assert one["outcome"] == "cannot be decoded: replace it with --as"
    whole = read(payment(1)) | {"event_time": NOON.isoformat()}
    (one,) = propose(rows(value), replaced(whole, PAYMENTS))
    assert (one["outcome"], read(one["value"])["payment_id"]) == ("silver", "payment-1")
    (one,) = propose(rows(value), replaced([], PAYMENTS))
    assert one["outcome"] == "not of the schema: the record: must be an object"


def test_what_was_sent_or_put_aside_is_left_alone() -> None:
    edit = each(patch('[{"op": "replace", "path": "/country", "value": "DE"}]'))
    for state, outcome in (
        ("replayed", "replayed before"),
        ("discarded", "discarded: restore it first"),
        ("edited", "silver"),
    ):
        (one,) = propose(rows(payment(1), state=state), edit)
        assert one["outcome"] == outcome
        assert (one["value"] is None) == (state != "edited")
