import math
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.streams import PAYMENTS
from flows.streams.payments.places import EARTH_RADIUS_M, haversine_m
from operators.features import totals
from operators.features.past import FORGET
from operators.records.batches import NO_WATERMARK
from tests.operators.durable import NOTHING, Durable, End, epoch_ends

EPOCH = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
BOUND = 30_000_000
MINUTE = 60_000_000
DAY = 1440 * MINUTE
HORIZONS = {"10m": 10 * MINUTE, "1h": 60 * MINUTE, "24h": DAY}
SCHEMA = PAYMENTS.features.columns
INPUT = {
    "event_time": pl.Datetime("us", "UTC"),
    "card_id": pl.String,
    "amount_minor": pl.Int64,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
}
PLACES = [
    (None, None),
    (50.85, 4.35),
    (38.72, -9.14),
    (-89.9, 179.99),
    (50.8503, 4.3503),
    (0.0, -180.0),
]


@pytest.fixture(autouse=True, params=[1, 4_096])
def _few_new_cards(request, monkeypatch):
    """Put the newest cards among the others now and then, or never."""
    monkeypatch.setattr(totals, "_NEW_MOST", request.param)


def frame_of(rows) -> pl.DataFrame:
    physical = {**INPUT, "event_time": pl.Int64}
    return pl.DataFrame(rows, schema=physical, orient="row").cast(INPUT)


@st.composite
def payments(draw, max_size=40):
    """(time, card, amount, latitude, longitude) in order of arrival."""
    time, rows = EPOCH, []
    steps = st.one_of(
        st.integers(-2 * MINUTE, 5 * MINUTE),
        st.sampled_from([0, 0, 1, -1, 10 * MINUTE, -10 * MINUTE, 60 * MINUTE, DAY, -DAY]),
        st.sampled_from([FORGET // 2, FORGET - 1, FORGET, 2 * FORGET, 9 * FORGET, -FORGET]),
    )
    for _ in range(draw(st.integers(1, max_size))):
        # Where the contract ends: from 2000 to 2100.
        time = min(max(time + draw(steps), 946_684_800_000_000), 4_102_444_800_000_000)
        card = draw(st.sampled_from(["hot", "hot", "hot", "", "é", "card-000001"]))
        amount = draw(st.one_of(st.integers(0, 300), st.integers(0, 10**12)))
        rows.append((time, card, amount, *draw(st.sampled_from(PLACES))))
    return rows


def metres(a, b) -> int:
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, place)) for place in (a, b))
    half = math.sin((lat2 - lat1) / 2) ** 2
    turn = math.sin((lon2 - lon1) / 2) ** 2
    return round(
        2 * EARTH_RADIUS_M * math.asin(math.sqrt(half + math.cos(lat1) * math.cos(lat2) * turn))
    )


def brute_force(rows) -> list[dict]:
    """Compute each row's columns from all rows before it, as the docstrings say."""
    result = []
    marks = [
        max(r[0] for r in rows[:i]) - BOUND if i else NO_WATERMARK for i in range(len(rows))
    ]
    # The first payment has no watermark before it and counts by the one behind it.
    periods = [(mark if i else rows[0][0] - BOUND) // FORGET for i, mark in enumerate(marks)]
    for i, (time, card, amount, *place) in enumerate(rows):
        past = [j for j in range(i) if rows[j][1] == card]
        row = {"watermark": marks[i] if i else None}
        for suffix, horizon in HORIZONS.items():
            oldest = max(time - horizon, marks[i] - DAY)
            mine = [rows[j][2] for j in past if oldest < rows[j][0] <= time]
            row[f"card_count_{suffix}"] = len(mine) + 1
            row[f"card_amount_minor_{suffix}"] = sum(mine) + amount
        # Forgotten: more than one whole period between two payments of the card.
        known = past
        for later, earlier in zip([i, *past[:0:-1]], past[::-1], strict=False):
            if periods[later] - periods[earlier] > 1:
                known = [j for j in past if j > earlier]
                break
        row["card_payments_before"] = len(known)
        total = sum(rows[j][2] for j in known)
        row["card_amount_minor_mean"] = total / len(known) if known else None
        placed = [j for j in known if rows[j][3] is not None]
        row["card_moved_m"] = row["card_speed_kmh"] = None
        if placed and place[0] is not None:
            was = rows[placed[-1]]
            row["card_moved_m"] = metres(was[3:], place)
            seconds = max(abs(time - was[0]) // 1_000_000, 1)
            row["card_speed_kmh"] = row["card_moved_m"] * 18 // (5 * seconds)
        result.append(row)
    return result


def run(rows, cuts=(), ends=NOTHING) -> pl.DataFrame:
    store = Durable(partial(PAYMENTS.features.make, BOUND))
    bounds = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    frames = []
    for number, (a, b) in enumerate(pairwise(bounds)):
        store.begin()
        frames.append(store.state.advance(frame_of(rows[a:b])))
        store.end(ends.get(number))
    return pl.concat(frames)


def columns(frame: pl.DataFrame) -> list[dict]:
    return (
        frame.with_columns(pl.col("watermark").to_physical())
        .select("watermark", *SCHEMA)
        .to_dicts()
    )


cuts = st.lists(st.integers(1, 40), max_size=6)


@given(payments(), cuts)
def test_any_batches_give_what_brute_force_gives(rows, at):
    assert columns(run(rows, at)) == brute_force(rows)


@given(payments(), cuts, epoch_ends)
def test_a_state_written_in_parts_goes_on_as_if_nothing_had_happened(rows, at, ends):
    whole = run(rows)
    again = run(rows, at, ends)
    assert again.equals(whole)
    # Bit by bit, so that a replay's silver equals the first.
    assert (
        again["card_amount_minor_mean"]
        .reinterpret(signed=False)
        .equals(whole["card_amount_minor_mean"].reinterpret(signed=False))
    )


@given(payments(max_size=25))
def test_one_payment_a_batch_is_the_same_as_one_batch(rows):
    assert run(rows, range(1, 25)).equals(run(rows))


def test_thousands_of_cards_and_batches_are_the_same_as_one_batch():
    random = np.random.default_rng(5)
    n = 3_000
    times = (
        EPOCH + np.cumsum(random.integers(0, 30_000_000, n)) + random.integers(-BOUND, BOUND, n)
    )
    rows = [
        (int(t), f"card-{c}", int(a), *PLACES[p])
        for t, c, a, p in zip(
            times, random.zipf(1.3, n) % 3_000, random.integers(0, 10**6, n),
            random.integers(0, len(PLACES), n), strict=True,
        )
    ]  # fmt: skip
    whole = run(rows)
    ends = {number: End(resume=number % 5 == 4) for number in range(60)}
    assert run(rows, range(0, n, 50), ends).equals(whole)
    for i in (0, 1, 77, 2_500, n - 1):
        assert columns(whole[i : i + 1]) == brute_force(rows[: i + 1])[-1:]


def test_the_second_payment_of_a_partition_knows_the_first():
    # The first one has no watermark, which is no reason to forget it.
    rows = [(EPOCH, "a", 100, 50.85, 4.35), (EPOCH + MINUTE, "a", 300, 50.8503, 4.3503)]
    second = columns(run(rows))[1]
    assert second["card_payments_before"] == 1
    assert second["card_amount_minor_mean"] == 100.0
    assert second["card_moved_m"] == 39


def silent_for(time: int) -> dict:
    rows = [
        (EPOCH, "a", 100, None, None),
        (EPOCH + MINUTE, "a", 100, None, None),
        (EPOCH + time, "other", 1, None, None),
        (EPOCH + time + MINUTE, "a", 100, None, None),
    ]
    assert columns(run(rows, [1, 2, 3])) == columns(run(rows))
    return columns(run(rows))[-1]


def test_a_card_is_forgotten_between_one_and_two_periods_after_its_last_payment():
    assert silent_for(FORGET - 2 * MINUTE)["card_payments_before"] == 2
    assert silent_for(2 * FORGET + 2 * MINUTE)["card_payments_before"] == 0
    assert silent_for(2 * FORGET + 2 * MINUTE)["card_amount_minor_mean"] is None


def test_a_forgotten_card_takes_no_memory_and_does_not_come_back():
    store = Durable(partial(PAYMENTS.features.make, BOUND))
    for year in range(12):
        rows = [
            (EPOCH + year * 4 * FORGET + i, f"{year}/{i}", 1, None, None) for i in range(50)
        ]
        later = (EPOCH + (year * 4 + 3) * FORGET, "x", 1, None, None)
        for part in (rows, [later] * 2):
            store.begin()
            store.state.advance(frame_of(part))
            store.end(End())
    assert store.state.rows < 60
    # Old entries still hold some.
    store.resume()
    assert store.state.rows < 60


def test_no_rows_bring_no_state_but_all_columns():
    features = PAYMENTS.features.make(BOUND)
    empty = features.advance(frame_of([]))
    assert (features.rows, features.changed) == (0, 0)
    assert empty.schema == features.advance(frame_of([(EPOCH, "a", 1, None, None)])).schema
    assert {name: empty.schema[name] for name in SCHEMA} == SCHEMA


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ((0, 0), (0, 180), math.pi * EARTH_RADIUS_M),
        ((90, 0), (-90, 77), math.pi * EARTH_RADIUS_M),
        ((0, 0), (0, 1), math.radians(1) * EARTH_RADIUS_M),
        ((50.85, 4.35), (50.85, 4.35), 0),
        ((0, 179.5), (0, -179.5), math.radians(1) * EARTH_RADIUS_M),
        # Antipodes, where rounding takes the sine's square over 1.
        ((0.5, 10.3), (-0.5, -169.7), math.pi * EARTH_RADIUS_M),
    ],
)
def test_great_circle_distances(one, two, expected):
    points = [np.array([x], float) for x in (*one, *two)]
    assert haversine_m(*points)[0] == pytest.approx(expected, abs=0.01)


@given(st.tuples(*[st.floats(-90, 90), st.floats(-180, 180)] * 2))
def test_any_two_points_have_a_distance(places):
    distance = haversine_m(*(np.array([x]) for x in places))[0]
    assert 0 <= distance <= math.pi * EARTH_RADIUS_M * (1 + 1e-12)


def test_any_antipodes_have_a_distance():
    random = np.random.default_rng(1)
    lat, lon = random.uniform(-90, 90, 200_000), random.uniform(-180, 180, 200_000)
    away = haversine_m(lat, lon, -lat, np.where(lon > 0, lon - 180, lon + 180))
    assert not np.isnan(away).any()
