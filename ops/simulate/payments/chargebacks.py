"""Chargebacks of simulated payments, with troubles of their own."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from flows.streams import CHARGEBACKS
from operators.columns.arrays import Int64s
from ops.simulate.encode import BY_ID, encode, frame, partitions_of

OTHERS: Final = 0.02
"""How often a payment that is no fraud is charged back, for each time that a fraud is."""

_SECOND: Final = 1_000_000
_REASONS: Final = ("10.4", "10.5", "12.5", "13.1", "13.3")


@dataclass(frozen=True, slots=True)
class Chargebacks:
    """The records of a topic, as in `Simulation`, in the order in which they are produced.

    `raised` has a row for each that was raised, with the fields of the schema.
    """

    raised: pl.DataFrame
    records: pl.DataFrame


def simulate_chargebacks(
    payments: pl.DataFrame,
    share: float,
    *,
    within: timedelta = timedelta(days=120),
    partitions: int = 4,
    seed: int = 0,
) -> Chargebacks:
    """Charge back a `share` of the frauds, and a few of the other payments.

    Most are raised `within` of the payment, a twentieth later. Of a hundred about five come
    out of order by up to half an hour, two later than that, two twice, one names a payment that
    never was, one breaks the contract and one is no Avro. `payments` are
    the events of a `Simulation`. Raises ValueError for a share that is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"chargebacks: {share} is no share in [0, 1]")
    rng = np.random.default_rng([seed, 2])
    fraud = payments["is_fraud"].to_numpy()
    chosen = rng.random(len(payments)) < np.where(fraud, share, share * OTHERS)
    raised = _raised(
        payments.filter(pl.Series(chosen)), within // timedelta(microseconds=1), rng
    )
    n = len(raised)
    prefix, _ = frame(CHARGEBACKS.record, 1, BY_ID)
    values = [prefix + body.as_py() for body in encode(CHARGEBACKS.record, 1, raised)]
    for broken in np.flatnonzero(rng.random(n) < 0.01):
        values[broken] = b"no chargeback"

    luck = rng.random(n)
    delay = np.where(luck < 0.05, rng.integers(0, 1_800, n), 0)
    delay = np.where(luck > 0.98, rng.integers(2 * 3_600, 10 * 86_400, n), delay) * _SECOND
    twice = np.flatnonzero(rng.random(n) < 0.02)
    row: Int64s = np.concatenate([np.arange(n), twice])
    arrival = (raised["event_time"].to_physical().to_numpy() + delay)[row]
    arrival[n:] += rng.integers(1, 600, len(twice)) * _SECOND
    order = row[np.argsort(arrival, kind="stable")]
    keys = raised["payment_id"].gather(order)
    records = pl.DataFrame(
        {
            "partition": partitions_of(keys, partitions),
            "key": keys.cast(pl.Binary()),
            "value": pl.Series(values, dtype=pl.Binary()).gather(order),
            "header": pl.Series([None] * len(order), dtype=pl.Binary()),
        }
    )
    return Chargebacks(raised, records)


def _raised(of: pl.DataFrame, within: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return what is raised about the payments `of`; `within` in µs."""
    n = len(of)
    after = (rng.random(n) * np.where(rng.random(n) < 0.95, within, 1.5 * within)).astype(
        np.int64
    )
    numbers = pl.int_range(n, dtype=pl.Int64, eager=True).cast(pl.String()).str.zfill(8)
    luck = pl.Series(rng.random(n))
    return of.select(
        ("cb-" + of["payment_id"] + "-" + numbers).alias("chargeback_id"),
        (pl.col("event_time") + pl.Series(after).cast(pl.Duration("us"))).alias("event_time"),
        pl.when(luck < 0.01).then("no-" + pl.col("payment_id")).otherwise("payment_id")
        .alias("payment_id"),
        "card_id",
        # Part of the sum is taken back now and then.
        pl.when(luck > 0.9).then(pl.col("amount_minor") // 2).otherwise("amount_minor")
        .alias("amount_minor"),
        pl.when((luck > 0.5) & (luck < 0.51)).then(pl.lit("eur")).otherwise("currency")
        .alias("currency"),
        pl.Series("reason_code", rng.choice(_REASONS, n), dtype=pl.String()),
        fraud=pl.col("is_fraud"),
    )  # fmt: skip
