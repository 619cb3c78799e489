"""Changes as tables take them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from operators.records.tables import COORDINATES, STAMPS, TIME

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIELDS = {"customer_id": pl.String(), "region": pl.Int32(), "segment": pl.String()}
BY = ("customer_id", "region")
COLUMNS = {
    **FIELDS,
    "event_time": TIME,
    "change_sequence": pl.Int64(),
    "deleted": pl.Boolean(),
    **COORDINATES,
}
STAMPED = {**COLUMNS, **STAMPS}


def change(
    number: int, key: int, sequence: int | None, second: int, *, deleted: bool = False
) -> dict[str, Any]:
    """Return a change, with stamps; one without a sequence is a tombstone."""
    deleted = deleted or sequence is None
    return {
        "customer_id": f"c{key % 3}",
        "region": key % 2,
        "segment": None if deleted else f"s{number}",
        "event_time": NOON + timedelta(seconds=second),
        "change_sequence": sequence,
        "deleted": deleted,
        "source_topic": "customers",
        "source_partition": number % 2,
        "source_offset": number // 2,
        "flow_version": "1",
        "written_at": NOON,
    }
