"""A person in tables that are there: what is found, and what is somebody else's too."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import write_deltalake

from flows.privacy_settings import PrivacySettings
from flows.streams import CHARGEBACKS, CUSTOMERS, PAYMENTS
from operators.connectors.delta.layout import columns_of, laid_out
from operators.connectors.delta.table import open_table
from operators.records.tables import Table
from ops.forget.cli import forget
from ops.forget.person import Search

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write(root: Path, table: Table, *rows: dict[str, Any]) -> None:
    """Add rows, each with an offset of its own unless it says so."""
    handle = open_table(str(root), table)
    topic = {"source_topic": table.name, "source_partition": 0}
    whole = [
        topic | {"source_offset": n, "event_time": NOON} | row for n, row in enumerate(rows)
    ]
    kinds = {n: kind for n, kind in table.schema.items() if any(n in row for row in whole)}
    frame = pl.DataFrame([{n: row.get(n) for n in kinds} for row in whole], schema=kinds)
    write_deltalake(handle, laid_out(frame, columns_of(handle)), mode="append")


def rows_of(root: Path, table: Table, column: str) -> list[Any]:
    return pl.read_delta(str(root / table.name))[column].sort().to_list()


def test_all_of_a_person_goes_and_what_a_second_one_has_of_a_card_stays(tmp_path: Path) -> None:
    sessions, days = (PAYMENTS.window_table(n) for n in ("card_sessions", "customer_day"))
    write(
        tmp_path,
        PAYMENTS.silver,
        {"payment_id": "p1", "card_id": "own", "customer_id": "C-1"},
        {"payment_id": "p2", "card_id": "shared", "customer_id": "C-1"},
        {"payment_id": "p3", "card_id": "shared", "customer_id": "C-2"},
    )
    again = {"source_topic": PAYMENTS.silver.name, "first_partition": 0}
    write(
        tmp_path,
        PAYMENTS.duplicates,
        again | {"source_offset": 7, "payment_id": "p1", "first_offset": 0},
        again | {"source_offset": 8, "payment_id": "p3", "first_offset": 2},
    )
    write(tmp_path, days, {"customer_id": "C-1"}, {"customer_id": "C-2"})
    write(tmp_path, sessions, {"card_id": "own"}, {"card_id": "shared"})
    write(
        tmp_path,
        CHARGEBACKS.silver,
        {"chargeback_id": "c1", "payment_id": "p2", "card_id": "shared"},
        {"chargeback_id": "c3", "payment_id": "p3", "card_id": "shared"},
    )
    for table in (CUSTOMERS.silver, CUSTOMERS.merged):
        place = {"source_topic": "customers", "bucket": 0}
        write(
            tmp_path, table, *(place | {"customer_id": each} for each in ("C-1", "C-2", "C-1"))
        )

    person = Search(str(tmp_path), PrivacySettings(), {}.__getitem__).person(
        "customer_id", "C-1"
    )
    assert person.shared == 1
    assert {name: found.height for name, found in person.records.items()} == {
        "payments": 3, "chargebacks": 1, "customers": 2, "labels": 0
    }  # fmt: skip
    gone = forget(str(tmp_path), person, "now")
    assert gone == {part.table.name: part.rows for part in person.parts}
    assert rows_of(tmp_path, PAYMENTS.silver, "payment_id") == ["p3"]
    assert rows_of(tmp_path, PAYMENTS.duplicates, "payment_id") == ["p3"]
    assert rows_of(tmp_path, days, "customer_id") == ["C-2"]
    assert rows_of(tmp_path, sessions, "card_id") == ["shared"]
    assert rows_of(tmp_path, CHARGEBACKS.silver, "chargeback_id") == ["c3"]
    for table in (CUSTOMERS.silver, CUSTOMERS.merged):
        assert rows_of(tmp_path, table, "customer_id") == ["C-2"]
    again_ = Search(str(tmp_path), PrivacySettings(), {}.__getitem__)
    assert again_.person("customer_id", "C-1").parts == []
