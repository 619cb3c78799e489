"""Every aggregate against a loop over the events that says what must come of it."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.features import Feature, Features, Source, totals
from operators.features.past import FORGET
from operators.records.tables import TIME
from operators.state import folds, sliding_history
from tests.operators.durable import NOTHING, Durable, epoch_ends
from tests.operators.features.aggregates import OF_EVENTS, aggregated, alike

EPOCH = datetime(2024, 5, 1, tzinfo=UTC)
MINUTE, BOUND = 60_000_000, 30_000_000
COLUMNS = {
    "event_time": TIME,
    **OF_EVENTS,
    "rate": pl.Float64(),
    "posted": pl.Date(),
}
SOURCE = Source(COLUMNS, frozenset({"shop", "tip", "rate", "posted"}), "card")

KINDS = {
    "count": (None,),
    "sum": ("amount", "tip"),
    "mean": ("amount", "tip"),
    "stddev": ("amount", "tip", "size"),
    "min": ("amount", "tip", "rate", "posted", "event_time"),
    "max": ("amount", "tip", "rate", "posted", "event_time"),
    "distinct": ("shop", "tip", "amount"),
    "first_time": (None,),
    "last_time": (None,),
    "seconds_since": (None,),
}
WHERES = {
    None: lambda row: True,
    "amount < 200": lambda row: row["amount"] < 200,
    "tip > 1": lambda row: row["tip"] is not None and row["tip"] > 1,
}


def small_windows() -> st.SearchStrategy[tuple[str | None, str | None]]:
    return st.sampled_from(
        [
            (None, None),
            ("2m", None),
            ("10m", None),
            ("10m", "24h"),
            ("1h", None),
            ("24h", None),
            ("7d", None),
            ("30d", None),
        ]
    )


@st.composite
def features(draw):
    """A few features, each of another kind, horizon, condition or key."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        aggregate = draw(st.sampled_from(sorted(KINDS)))
        horizon, kept = draw(small_windows())
        if aggregate == "distinct" and horizon is None:
            horizon = "10m"
        stated = {
            "name": f"f{number}",
            "version": 1,
            "description": "A feature.",
            "by": draw(st.sampled_from(["card", ["card", "shop"]])),
            "aggregate": aggregate,
            "of": draw(st.sampled_from(KINDS[aggregate])),
            "where": draw(st.sampled_from(sorted(WHERES, key=str))),
            "horizon": horizon,
            "kept": kept,
            "inclusive": draw(st.sampled_from([None, True, False])),
        }
        found.append(Feature.model_validate(stated))
    return tuple(found)


@st.composite
def events(draw, max_size=30):
    """Rows in order of arrival: late, far apart, with and without what may be null."""
    time, rows = EPOCH, []
    steps = st.one_of(
        st.integers(-2 * MINUTE, 3 * MINUTE),
        st.sampled_from([0, 0, 1, -1, 2 * MINUTE, -10 * MINUTE, 10 * MINUTE, 1440 * MINUTE]),
        st.sampled_from(
            [7 * 1440 * MINUTE, 30 * 1440 * MINUTE, FORGET, 2 * FORGET, 5 * FORGET]
        ),
    )
    for _ in range(draw(st.integers(1, max_size))):
        time = time + timedelta(microseconds=draw(steps))
        rows.append(
            {
                "event_time": time,
                "card": draw(st.sampled_from(["hot", "hot", "hot", "b"])),
                "shop": draw(st.sampled_from(["x", "x", "y", None])),
                "amount": draw(st.one_of(st.integers(0, 400), st.integers(-(10**12), 10**12))),
                "size": draw(st.sampled_from([0, 1, 2**31, 2**32, 2**40, 2**63 - 1, -(2**63)])),
                "tip": draw(st.sampled_from([None, 0, 1, 2, 3])),
                "rate": draw(st.sampled_from([None, -2.5, 0.0, 7.25, float("nan")])),
                "posted": draw(st.sampled_from([None, EPOCH.date(), time.date()])),
            }
        )
    return rows


def key_of(feature, row):
    # A null is a key as an empty text is, as in windows.
    return tuple(row[name] or "" for name in feature.by)


def micros(time) -> int:
    return (time - EPOCH) // timedelta(microseconds=1) + int(EPOCH.timestamp()) * 1_000_000


def those_that_count(feature, rows, i):
    """Return the earlier rows that count for the i-th, as the docstrings of `Feature` say."""
    mine = [j for j in range(i) if key_of(feature, rows[j]) == key_of(feature, rows[i])]
    times = [micros(row["event_time"]) for row in rows]
    marks = [max(times[:j]) - BOUND if j else None for j in range(i + 1)]
    if feature.horizon:
        oldest = times[i] - feature.horizon_us
        if i:
            oldest = max(oldest, marks[i] - feature.kept_us)
        return [j for j in mine if oldest < times[j] <= times[i]]
    periods = [(times[0] - BOUND if m is None else m) // FORGET for m in marks]
    later = i
    for j in reversed(mine):
        if periods[later] - periods[j] > 1:
            return [k for k in mine if k > j]
        later = j
    return mine


def value_of(feature, rows, i):
    counting = those_that_count(feature, rows, i) + ([i] if feature.includes_itself else [])
    picked = [rows[j] for j in counting if WHERES[feature.where](rows[j])]
    if feature.aggregate == "count":
        return len(picked)
    if feature.of is None:
        times = [row["event_time"] for row in picked]
        if feature.aggregate == "first_time":
            return min(times, default=None)
        last = max(times, default=None)
        if feature.aggregate == "last_time" or last is None:
            return last
        return max((rows[i]["event_time"] - last) // timedelta(seconds=1), 0)
    return aggregated(feature.aggregate, [each[feature.of] for each in picked])


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Merge runs and indexes often, and count different values in pieces."""
    monkeypatch.setattr(sliding_history, "_LEAST", 2)
    monkeypatch.setattr(folds, "_PAIRS_AT_ONCE", 10)
    monkeypatch.setattr(totals, "_NEW_MOST", 2)


def run(stated, rows, cuts=(), ends=NOTHING):
    store = Durable(partial(Features(SOURCE, stated).make, BOUND))
    frame = pl.DataFrame(rows, schema=COLUMNS)
    bounds = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    made = []
    for number, (a, b) in enumerate(pairwise(bounds)):
        store.begin()
        made.append(store.state.advance(frame[a:b]))
        store.end(ends.get(number))
    return pl.concat(made)


@given(features(), events(), st.lists(st.integers(1, 30), max_size=6), epoch_ends)
def test_any_batches_and_resumes_give_what_the_model_says(stated, rows, cuts, ends):
    made = run(stated, rows, cuts, ends)
    expected = Features(SOURCE, stated).columns
    assert {name: made.schema[name] for name in expected} == expected
    for feature in stated:
        told = [value_of(feature, rows, i) for i in range(len(rows))]
        assert alike(made[feature.name].to_list(), told), feature
    assert made.equals(run(stated, rows))


@given(features(), events(max_size=12))
def test_a_feature_is_the_same_whatever_others_there_are(stated, rows):
    together = run(stated, rows)
    for feature in stated:
        assert run((feature,), rows)[feature.name].equals(together[feature.name])


def test_no_rows_bring_all_columns():
    stated = tuple(
        Feature(
            name=aggregate, version=1, description="-", by="card", aggregate=aggregate,
            of=of[0], horizon="10m",
        )
        for aggregate, of in KINDS.items()
    )  # fmt: skip
    state = Features(SOURCE, stated).make(BOUND)
    empty = state.advance(pl.DataFrame(schema=COLUMNS))
    assert (empty.height, state.rows, state.changed) == (0, 0, 0)
    one = [dict.fromkeys(COLUMNS) | {"event_time": EPOCH, "card": "a", "amount": 1, "size": 1}]
    assert empty.schema == run(stated, one).schema
