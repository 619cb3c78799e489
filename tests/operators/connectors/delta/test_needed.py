"""How far records bear on a time, by partition."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from operators.connectors.delta.needed import needed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Give silver whose partitions have these minutes of event time, in the order of offsets."""
    parts = {
        # The fourth is late, behind where the watermark has come to 60.
        0: [0, 30, 61, 29, 62, 120, 121],
        1: [10, 20, 75, 76, 130, 131],
        2: [5, 40, 68, 80, 81],
        # Comes to 22 alone.
        3: [1, 21, 22],
    }
    rows = [
        {
            "source_topic": "payments",
            "source_partition": partition,
            "source_offset": offset,
            "event_time": minutes(at),
            "watermark": minutes(max(times[:offset], default=-99)),
        }
        for partition, times in parts.items()
        for offset, at in enumerate(times)
    ]
    others = [row | {"source_topic": "other's", "event_time": minutes(0)} for row in rows]
    write_deltalake(str(tmp_path / "silver" / "payments"), pl.DataFrame([*rows, *others]))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("before", "due", "ends"),
    [
        # To the last of before, and to the first one that meets a watermark of 60.
        (60, 60, {0: 3, 1: 3, 2: 3}),
        (30, 30, {0: 3, 1: 3, 2: 2}),
        (20, 20, {0: 2, 1: 2, 2: 2, 3: 2}),
    ],
)
def test_to_the_last_of_before_and_to_where_all_is_closed(root, before, due, ends):
    found = needed(root, "silver/payments", "payments", minutes(before), minutes(due))

    assert found == ends


def test_without_silver_all_is_needed(tmp_path: Path) -> None:
    assert needed(str(tmp_path), "silver/x", "x", NOON, NOON) == {}
