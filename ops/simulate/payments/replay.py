"""A file of card payments, replayed as the records of a topic."""

from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from ops.simulate.encode import BY_ID, encode_framed, partitions_of
from ops.simulate.simulation import Simulation, sequence

COLUMNS: Final = (
    "transaction_id",
    "event_time",
    "customer_id",
    "terminal_id",
    "amount",
    "is_fraud",
)
LABEL: Final = COLUMNS[-1]
"""The one that says which payments are frauds."""


def replay_file(
    path: Path,
    partitions: int = 4,
    limit: int | None = None,
    since: datetime | None = None,
) -> Simulation:
    """Read payments from a parquet file and make records of them, every row one record.

    The file is that of `read_payments`. Records are in the order of event time (ties as in the
    file), of schema version 1, framed by its id. `since` (aware) and `limit` choose a part: the
    first `limit` payments from `since` on.

    Negative amounts, which the contract forbids, are expected in quarantine by the truth.
    Raises OSError if the file cannot be read and ValueError if it is not of this form.
    """
    payments = read_payments(path, limit, since)
    n = len(payments)
    version, framing = np.ones(n, np.int8), np.full(n, BY_ID, np.int8)
    values, headers = encode_framed(
        PAYMENTS.record, payments.select(*PAYMENTS.fields), version, framing
    )
    partition = partitions_of(payments["card_id"], partitions)
    key = payments["card_id"].cast(pl.Binary())
    records = pl.DataFrame(
        {"partition": partition, "key": key, "value": values, "header": headers}
    )
    negative = pl.col("amount_minor") < 0
    truth = payments.select(
        pl.lit(PAYMENTS.name).alias("stream"),
        pl.Series("partition", partition), pl.Series("sequence", sequence(partition)),
        "payment_id", "event_time",
        pl.when(negative).then(pl.lit("contract")).otherwise(pl.lit("ok")).alias("kind"),
        pl.when(negative).then(pl.lit("quarantine")).otherwise(pl.lit("silver")).alias("place"),
        pl.when(negative).then(pl.lit("contract")).alias("stage"),
        pl.when(negative).then(pl.lit("amount_range")).alias("code"),
        "is_fraud", "scenario",
    )  # fmt: skip
    return Simulation(payments, records, truth)


def read_payments(
    path: Path, limit: int | None = None, since: datetime | None = None, labelled: bool = True
) -> pl.DataFrame:
    """Return the payments of a parquet file in the order of event time, ties as in the file.

    Columns of the file: `transaction_id`, `customer_id`, `terminal_id` (integers), `event_time`
    (taken as UTC if it names no zone), `amount` (major units, two decimals), `is_fraud`, which may
    be missing unless it is `labelled`; optionally `fraud_scenario`. Ids become the numbers as text,
    the customer's also the card's; the amount becomes cents, exactly. What such a file lacks is
    constant: currency EUR, category 5999, country BE, channel POS, no position, no device.

    Raises OSError if the file cannot be read and ValueError if it is not of this form.
    """
    try:
        names = pl.read_parquet_schema(path)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"{path}: not a parquet file: {error}") from error
    needed = [name for name in COLUMNS if labelled or name != LABEL]
    if missing := [name for name in needed if name not in names]:
        raise ValueError(f"{path}: no column " + ", ".join(missing))
    read: list[str] = [name for name in (*COLUMNS, "fraud_scenario") if name in names]
    rows = pl.read_parquet(path, columns=read)
    if holding := [name for name in rows.columns if rows[name].null_count()]:
        raise ValueError(f"{path}: nulls in column " + ", ".join(holding))
    rows = rows.with_columns(
        _utc(rows["event_time"], path), pl.col("amount").cast(pl.Float64())
    )
    rows = rows.sort("event_time", maintain_order=True)
    if since is not None:
        rows = rows.filter(pl.col("event_time") >= since)
    return _payments(rows.head(limit) if limit is not None else rows, path)


def _utc(times: pl.Series, path: Path) -> pl.Series:
    """Return the times in µs, UTC."""
    if not isinstance(times.dtype, pl.Datetime):
        raise ValueError(f"{path}: event_time is of type {times.dtype}, not a timestamp")
    zoned = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times
    return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _payments(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    # 57.16 * 100 is 5715.999...: rounding gives the cents that the decimals meant, for any
    # amount below 2**45 cents; anything further than rounding error from a cent is no amount.
    cents = (rows["amount"] * 100).round()
    # "Not all near" and not "some far": a NaN is neither.
    if not ((cents - rows["amount"] * 100).abs() < 1e-4).all():
        raise ValueError(f"{path}: an amount has more than two decimals")
    labels = []
    if LABEL in rows.columns:
        scenario = "fraud_scenario" if "fraud_scenario" in rows.columns else LABEL
        labels = [
            pl.col(LABEL).cast(pl.Boolean()),
            pl.col(scenario).cast(pl.Int8()).alias("scenario"),
        ]
    return rows.select(
        pl.col("transaction_id").cast(pl.String()).alias("payment_id"),
        "event_time",
        pl.col("customer_id").cast(pl.String()).alias("card_id"),
        pl.col("customer_id").cast(pl.String()),
        pl.col("terminal_id").cast(pl.String()),
        cents.cast(pl.Int64()).alias("amount_minor"),
        pl.lit("EUR").alias("currency"),
        pl.lit("5999").alias("merchant_category"),
        pl.lit("BE").alias("country"),
        pl.lit(None, pl.Float64()).alias("latitude"),
        pl.lit(None, pl.Float64()).alias("longitude"),
        pl.lit("POS").alias("channel"),
        pl.lit(None, pl.String()).alias("device_id"),
        pl.lit(value=False).alias("recurring"),
        *labels,
    )
