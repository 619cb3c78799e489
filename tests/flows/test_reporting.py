"""What a flow says of where it begins, and of how far it is."""

from datetime import UTC, datetime

import pytest

from flows import reporting
from flows.reporting import Counts, Reporter
from operators import metrics


@pytest.mark.parametrize(
    ("positions", "start", "said"),
    [
        ({}, "earliest", "from its beginning"),
        ({}, "latest", "from its end"),
        ({}, datetime(2026, 3, 1, tzinfo=UTC), "from 2026-03-01 00:00:00+00:00 on"),
        ({0: 1_500, 1: 2}, "latest", "from the recovery store's offsets on (0: 1,500, 1: 2)"),
        ({0: None, 1: None}, "latest", "from the recovery store's offsets on"),
        (
            {0: 7},
            "latest",
            "from the recovery store's offsets on (0: 7); added since, from their beginning: 1",
        ),
        (
            {partition: 1_000 * partition for partition in range(20)},
            "earliest",
            "from the recovery store's offsets on (0 to 19,000)",
        ),
    ],
)
def test_where_reading_begins(positions, start, said):
    partitions = range(max(2, len(positions)))
    assert reporting._places(partitions, positions, start) == said


def test_a_line_tells_what_came_since_the_one_before():
    # Other tests of this process have left partitions that are further behind.
    metrics.WATERMARK_LAG.clear()
    metrics.OFFSET_LAG.clear()
    now = [100.0]
    before = Counts.now().records
    reporter = Reporter("payments", 60, clock=lambda: now[0])
    metrics.RECORDS.labels("told", "0").inc(1_200)
    metrics.OFFSET_LAG.labels("told", "0").set(5)
    metrics.REJECTS.labels("decode", "told").inc()
    metrics.WATERMARK_LAG.labels("told", "0").set(1e9)
    now[0] += 60
    line = reporter.line()
    assert line.startswith(
        "payments: 1,200 records in 60 s (20/s), 1 reject, 0 duplicates, 0 table commits; "
        f"{before + 1_200:,} records since the start; "
    )
    assert "11,574 d behind the clock (told/0)" in line
    now[0] += 60
    line = reporter.line()
    assert line.startswith("payments: nothing new in 60 s; ")
    assert "; 5 to read; " in line
    metrics.offset_lag("told", "1")
    assert "; how many there are to read is not known yet; " in reporter.line()


def test_a_line_tells_how_much_of_its_state_a_flow_has_made():
    metrics.HISTORY_ROWS.clear()
    metrics.HISTORY_LEFT.clear()
    reporter = Reporter("payments", 60)
    metrics.HISTORY_ROWS.labels("told", "0").inc(700)
    metrics.HISTORY_LEFT.labels("told", "0").set(200)
    metrics.HISTORY_LEFT.labels("told", "1").set(100)
    made = "payments: state is made of the tables' rows, 700 of 1,000 (70 %); nothing new in"
    assert reporter.line().startswith(made)
    metrics.HISTORY_LEFT.clear()
    assert reporter.line().startswith("payments: nothing new in")
