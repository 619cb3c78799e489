"""As of when events ask, and what those of the past do."""

from datetime import UTC, datetime, timedelta

import polars as pl

from operators.event_time.watermarks import Bounds
from operators.features import Feature, Features
from operators.features.by_another import Requests
from operators.features.by_another.requests import ASKS, BASE, FRESH, LAG, MARK
from operators.records.batches import NO_WATERMARK, Batch, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import TIME_US
from tests.operators.features.by_another.model import COLUMNS, SECOND, SOURCE

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
AT = int(NOON.timestamp()) * SECOND
MINUTE = 60 * SECOND
COUNT = Feature(
    name="few", version=1, description="-", by="shop", horizon="10m", aggregate="count"
)


def asked(bound, *rows, past=False, **more):
    """Return what is asked for events at (seconds behind noon, and when Kafka had them)."""
    stated = [
        {
            "source_partition": 0,
            "source_offset": offset,
            "event_time": NOON + timedelta(seconds=second),
            "kafka_timestamp": None if kafka is None else NOON + timedelta(seconds=kafka),
            "shop": "x",
            **more,
        }
        for offset, (second, kafka) in enumerate(rows)
    ]
    frame = pl.DataFrame(
        stated, schema={**COLUMNS, "watermark": TIME} | dict.fromkeys(more, TIME)
    )
    requests = Requests(Features(SOURCE, (COUNT,)).questions, bound)
    (made,) = requests.make(Batch(Progress("t", 0, 1, past=past), frame))
    return made, requests


def test_an_event_that_is_ahead_of_kafkas_clock_asks_as_of_that():
    made, _ = asked(30 * SECOND, (0, None), (5, 7), (300, 10))
    assert ((made[BASE] - AT) // SECOND).to_list() == [0, 5, 10]
    # A minute and a half before, down to the minute.
    assert ((made[TIME_US] - AT) // MINUTE).to_list() == [-2, -2, -2]


def test_the_lag_is_of_the_out_of_orderness_that_each_offset_is_judged_by():
    bounds = Bounds(10 * SECOND, ((300 * SECOND, {0: 1}), (5 * SECOND, {0: 2})))
    made, requests = asked(bounds, *[(second, None) for second in (0, 0, 0, 0)])
    assert (made[LAG] // SECOND).to_list() == [360, 360, 65, 70]
    assert ((made[TIME_US] - AT) // MINUTE).to_list() == [-6, -6, -2, -2]
    assert requests.longest_lag == 360 * SECOND


def test_those_of_the_past_ask_for_nothing_and_are_judged_as_they_were():
    made, _ = asked(0, (0, None))
    assert made[MARK].to_list() == [NO_WATERMARK]
    assert made[FRESH].all()
    assert made[ASKS].all()
    woken = {"watermark": NOON, "woken_at": NOON + timedelta(seconds=3)}
    made, _ = asked(0, (0, None), past=True, **woken)
    assert made[MARK].to_list() == [AT + 3 * SECOND]
    assert not made[FRESH].any()
    assert not made[ASKS].any()
    # What the tables may lack asks anew.
    made, _ = asked(0, (0, None), **woken | {"woken_at": None})
    assert made[MARK].to_list() == [AT]
    assert not made[FRESH].any()
    assert made[ASKS].all()


def test_no_events_ask_nothing():
    frame = pl.DataFrame(schema={**COLUMNS, "watermark": TIME})
    requests = Requests(Features(SOURCE, (COUNT,)).questions, 0)
    assert requests.make(Batch(Progress("t", 0, 1), frame)) == []
