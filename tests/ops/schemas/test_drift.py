"""Drift of what is in bronze: schemas that are no version here, from when on and by how many."""

import io
import json
from datetime import UTC, datetime, timedelta

import fastavro
import polars as pl
import pytest

import schemas
from flows.streams import PAYMENTS
from operators.records.columns import RAW_COLUMNS
from tests.operators.connectors.registry_server import serving
from tests.ops.schemas.test_published import run

NEWEST = schemas.latest("payment")
POINTS = {"name": "points", "type": {"type": "array", "items": "long"}, "default": []}
MORE = NEWEST | {"fields": [*NEWEST["fields"], POINTS]}
LESS = NEWEST | {"fields": [each for each in NEWEST["fields"] if each["name"] != "country"]}
START = datetime(2026, 3, 1, tzinfo=UTC)
PAYMENT = {
    "payment_id": "p", "event_time": START, "card_id": "c", "customer_id": "u",
    "terminal_id": "t", "amount_minor": 5, "currency": "EUR", "merchant_category": "5411",
    "country": "BE", "latitude": None, "longitude": None, "channel": "POS",
    "device_id": None, "recurring": True, "points": [3],
}  # fmt: skip


def body(schema):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), PAYMENT)
    return out.getvalue()


def framed(number, schema):
    return b"\0" + number.to_bytes(4, "big") + body(schema)


@pytest.fixture
def root(tmp_path):
    """A bronze table of two commits, the later records first."""

    def write(first, *records):
        rows = [
            ("payments", 0, offset, START + timedelta(hours=offset), None, value, headers)
            for offset, (value, headers) in enumerate(records, first)
        ]
        frame = pl.DataFrame(rows, schema=RAW_COLUMNS, orient="row")
        frame = frame.with_columns(ingest_date=pl.col("kafka_timestamp").cast(pl.Date))
        frame.write_delta(str(tmp_path / PAYMENTS.bronze.name), mode="append")

    by_header = [{"key": "__value_schema_id", "value": b"\0\0\0\0\2"}]
    write(3, (framed(2, MORE), None), (b"junk", None), (framed(2**31, MORE), None))
    write(0, (framed(1, NEWEST), None), (framed(3, LESS), None), (body(MORE), by_header))
    return tmp_path


def test_what_was_written_by_a_schema_that_is_not_here_is_found_in_bronze(
    capsys, monkeypatch, root
):
    with serving() as registry:
        monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", registry.url)
        for schema in (NEWEST, MORE, LESS):  # ids 1, 2 and 3
            registry.add("payments-value", {"schema": json.dumps(schema)})
        status, lines, _ = run(capsys, "drift", "--root", root)
        assert status == 1
        assert sorted(lines) == [
            "payments: schema id 2 is no version here: + points (array of long, default []); its "
            "records are read, new fields kept in _rest (2 records from payments/0/2 on, "
            "2026-03-01 02:00 to 2026-03-01 03:00)",
            "payments: schema id 3 is no version here: - country (string); its records are "
            "refused: field country: not written, and has no default (1 record from "
            "payments/0/1 on, 2026-03-01 01:00 to 2026-03-01 01:00)",
        ]  # fmt: skip
        status, lines, _ = run(capsys, "drift", "payments", "--root", root, "--json")
        told = {each["drift"]["schema_id"]: each for each in json.loads("\n".join(lines))}
        assert (told[2]["drift"]["outcome"], told[2]["records"]) == ("read", 2)
    monkeypatch.delenv("MILLSTREAM_SCHEMA_REGISTRY")
    assert run(capsys, "drift", "clicks", "--root", root)[::2] == (
        1, [f"millstream: no bronze tables under {root}: name their folder with --root"]
    )  # fmt: skip
    # Nobody here knows the ids now, and a record of no schema is no drift.
    assert run(capsys, "drift", "--root", root) == (
        0, ["all records are of versions that are here"], []
    )  # fmt: skip
    assert run(capsys, "drift", "nothing", "--root", root)[0] == 2
    monkeypatch.delenv("MILLSTREAM_DELTA_ROOT", raising=False)
    assert run(capsys, "drift")[::2] == (
        2, ["millstream: no --root, and MILLSTREAM_DELTA_ROOT is not set"]
    )  # fmt: skip
