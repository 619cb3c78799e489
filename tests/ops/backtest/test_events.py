"""Events, labels and alerts are brought together whatever the batches and partitions."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from flows.streams import PAYMENTS
from operators.columns.hashing import hash_strings
from ops.backtest.events import Collected
from ops.backtest.labels import DAY, DELAY, Labels

START = datetime(1970, 1, 11, tzinfo=UTC)
FIRST = 10

# The day, the hour, the card, the label if there is one, and on which day that was known.
payments = st.lists(
    st.tuples(
        st.integers(0, 20), st.integers(0, 23), st.integers(0, 3),
        st.none() | st.booleans(), st.none() | st.integers(FIRST, FIRST + 25),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@given(payments, st.integers(1, 7), st.integers(0, 10), st.integers(10, 20))
def test_all_is_as_it_is_payment_by_payment(found, batch, begin, end):
    rows = pl.DataFrame(
        {
            "source_offset": np.arange(len(found)),
            "payment_id": [f"payment-{n}" for n in range(len(found))],
            "event_time": [START + timedelta(days=d, hours=h) for d, h, *_ in found],
            "card_id": [f"card-{card}" for _, _, card, *_ in found],
            "customer_id": [f"customer-{card % 2}" for _, _, card, *_ in found],
            "amount_minor": np.arange(len(found)) * 10,
            "currency": ["EUR" if n % 3 else "SEK" for n in range(len(found))],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    labelled = [n for n, each in enumerate(found) if each[3] is not None]
    labels = Labels.of(
        "test",
        pl.Series([f"payment-{n}" for n in labelled], dtype=pl.String),
        np.array([found[n][3] for n in labelled], np.bool_),
        np.array([-1 if found[n][4] is None else found[n][4] for n in labelled], np.int64),
    )
    collected = Collected(PAYMENTS, labels)
    for part in rows.iter_slices(batch):
        wanted = collected.add(part, (FIRST + begin) * DAY, (FIRST + end) * DAY)
        frame = part.filter(pl.Series(wanted))
        hit = frame.filter(pl.col("source_offset") % 2 == 0)
        score = pl.col("source_offset").cast(pl.Float64).alias("score")
        alerts = hit.select("source_offset", pl.lit("even").alias("rule_id"), score)
        collected.add_alerts(0, frame, alerts)
    events, hits = collected.events()

    def known(n: int) -> int | None:
        """The day on which a payment was known to be a fraud."""
        if not found[n][3]:
            return None
        return FIRST + found[n][0] + DELAY if found[n][4] is None else found[n][4]

    first = FIRST + max(begin, min(each[0] for each in found))

    def block(day: int) -> int:
        """The first day of the seven that a day is one of."""
        return first + (day - first) // 7 * 7

    inside = [n for n, each in enumerate(found) if begin <= each[0] < end]
    inside.sort(key=lambda n: (found[n][0], found[n][1], n))
    assert events.day.tolist() == [FIRST + found[n][0] for n in inside]
    assert events.card.tolist() == hash_strings(rows["card_id"])[inside].tolist()
    assert events.customer.tolist() == hash_strings(rows["customer_id"])[inside].tolist()
    assert events.amount.tolist() == [n * 10 for n in inside]
    assert [events.currencies[code] for code in events.currency] == [
        "EUR" if n % 3 else "SEK" for n in inside
    ]
    assert events.fraud.tolist() == [bool(found[n][3]) for n in inside]
    assert collected.unlabelled == sum(found[n][3] is None for n in inside)
    assert events.known.tolist() == [
        any(
            found[other][2] == found[n][2]
            and (day := known(other)) is not None
            and block(FIRST + found[n][0]) - 7 <= day < FIRST + found[n][0]
            for other in range(len(found))
        )
        for n in inside
    ]
    assert (collected.first, collected.last) == (
        FIRST + min(each[0] for each in found), FIRST + max(each[0] for each in found),
    )  # fmt: skip
    even = [(place, float(n)) for place, n in enumerate(inside) if n % 2 == 0]
    if even:
        mine = hits[0, "even"]
        assert list(zip(mine.rows.tolist(), mine.scores.tolist(), strict=True)) == even
    else:
        assert hits == {}


def test_of_several_labels_of_an_event_one_of_fraud_counts_from_when_it_was_first_known():
    labels = Labels.of(
        "test",
        pl.Series(["a", "a", "b", "a"]),
        np.array([False, True, False, True]),
        np.array([3, 9, -1, 5]),
    )
    fraud, known, there = labels.look_up(pl.Series(["b", "a", "c"]), np.array([1, 1, 1]))
    assert fraud.tolist() == [False, True, False]
    assert known.tolist() == [1 + DELAY, 5, 1 + DELAY]
    assert there.tolist() == [True, True, False]
