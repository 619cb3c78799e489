"""What BI's views say, worked out of silver by Polars, in minor units where they are amounts."""

from datetime import timedelta

import polars as pl

from ops.currencies import digits

DAY = pl.col("event_time").dt.date().alias("day")
KEY = ("terminal_id", "merchant_category", "country", "currency")
REVENUE = pl.col("amount_minor").sum().alias("revenue")
SPEND = REVENUE.alias("spend")
PAYMENTS = pl.len().cast(pl.Int64).alias("payments")
LARGEST = pl.col("amount_minor").max().alias("largest_payment")


def counted(silver: pl.DataFrame, lateness: timedelta) -> pl.DataFrame:
    """Return the payments that were in time for their day, with that."""
    ends = pl.col("event_time").dt.truncate("1d") + timedelta(days=1) + lateness
    return silver.filter(
        pl.col("watermark").is_null() | (pl.col("watermark") < ends)
    ).with_columns(DAY, pl.col("event_time").dt.month_start().dt.date().alias("month"))


def in_minor(rows: pl.DataFrame, *amounts: str) -> pl.DataFrame:
    """Return a view's rows with these amounts in minor units, if they are exactly so many."""
    units = pl.col("currency").replace_strict(
        {each: 10 ** digits(each) for each in rows["currency"].unique()}, return_dtype=pl.Int64
    )
    made = rows.with_columns((pl.col(name) * units).alias(name) for name in amounts)
    whole = made.with_columns(pl.col(name).cast(pl.Int64) for name in amounts)
    assert (
        whole.select(amounts)
        .cast(pl.Decimal(38, 3))
        .equals(made.select(amounts).cast(pl.Decimal(38, 3)))
    )
    return whole


def daily_sales(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("day", "currency").agg(
        PAYMENTS,
        REVENUE,
        LARGEST,
        pl.col("terminal_id").n_unique().cast(pl.Int64).alias("terminals"),
        pl.col("customer_id").n_unique().cast(pl.Int64).alias("customers"),
    )


def customer_segments(rows: pl.DataFrame) -> pl.DataFrame:
    """Told by ranks: of n customers the one in place p has (p - 1) / (n - 1) above it."""
    above = (pl.col("place") - 1) / pl.max_horizontal(pl.len().over("currency") - 1, 1)
    return (
        _last(rows, 90)
        .group_by("customer_id", "currency")
        .agg(
            PAYMENTS,
            SPEND,
            LARGEST,
            pl.col("day").n_unique().cast(pl.Int64).alias("active_days"),
            pl.col("day").min().alias("first_day"),
            pl.col("day").max().alias("last_day"),
        )
        .with_columns(_place("spend", "currency"))
        .with_columns(
            pl.when(above < 0.1)
            .then(pl.lit("HIGH"))
            .when(above < 0.5)
            .then(pl.lit("MEDIUM"))
            .otherwise(pl.lit("LOW"))
            .alias("segment")
        )
    )


def category_performance(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("merchant_category", "country", "currency").agg(
        PAYMENTS,
        REVENUE,
        LARGEST,
        pl.col("terminal_id").n_unique().cast(pl.Int64).alias("terminals"),
        pl.col("day").min().alias("first_day"),
        pl.col("day").max().alias("last_day"),
    )


def terminal_comparison(rows: pl.DataFrame) -> pl.DataFrame:
    sold = _last(rows, 30).group_by(KEY).agg(PAYMENTS, REVENUE)
    return sold.with_columns(
        pl.len().over(KEY[1:]).cast(pl.Int64).alias("peers"), _place("revenue", *KEY[1:])
    )


def top_categories_30d(rows: pl.DataFrame) -> pl.DataFrame:
    names = ("merchant_category", "currency")
    before = _last(rows, 60).join(_last(rows, 30), on="payment_id", how="anti")
    return (
        _last(rows, 30)
        .group_by(names)
        .agg(PAYMENTS, REVENUE)
        .join(
            before.group_by(names).agg(previous_revenue=pl.sum("amount_minor")), names, "left"
        )
        .with_columns(pl.col("previous_revenue").fill_null(0), _place("revenue", "currency"))
        .filter(pl.col("place") <= 10)
    )


def monthly_revenue(rows: pl.DataFrame) -> pl.DataFrame:
    found = rows.group_by("month", "currency").agg(
        pl.col("day").n_unique().cast(pl.Int64).alias("days"), PAYMENTS, REVENUE
    )
    earlier = found.select(
        pl.col("month").dt.offset_by("1mo"), "currency", previous_revenue="revenue"
    )
    return found.join(earlier, on=["month", "currency"], how="left")


def alert_funnel(rows: pl.DataFrame, alerts: pl.DataFrame) -> pl.DataFrame:
    live = pl.col("rule_status").fill_null("live") == "live"
    ids = pl.col("payment_id")
    counts = alerts.group_by(DAY).agg(
        hits=pl.len(),
        payments_hit=ids.n_unique(),
        live_alerts=live.sum(),
        payments_alerted=ids.filter(live).n_unique(),
        payments_blocked=ids.filter(live & (pl.col("action") == "block")).n_unique(),
        cards_alerted=pl.col("card_id").filter(live).n_unique(),
    )
    found = rows.group_by("day").agg(PAYMENTS).join(counts, on="day", how="left")
    return found.with_columns(pl.col(pl.UInt32).fill_null(0).cast(pl.Int64))


def data_quality(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Told of the tables of records, each on the day of the newest Kafka time before it."""
    place = ["source_partition", "source_offset"]
    newest = pl.col("kafka_timestamp").cum_max().over("source_partition")
    days = tables["bronze/payments"].sort(place).select(*place, newest.dt.date().alias("day"))
    late = pl.col("event_time") < pl.col("watermark")
    none = (pl.lit("").alias("stage"), pl.lit("").alias("code"))
    every = pl.concat(
        [
            tables["silver/payments"].select(
                *place,
                pl.when(late)
                .then(pl.lit("late"))
                .otherwise(pl.lit("in time"))
                .alias("outcome"),
                *none,
            ),
            tables["silver/duplicates"].select(
                *place, pl.lit("duplicate").alias("outcome"), *none
            ),
            tables["quarantine/payments"].select(
                *place, pl.lit("refused").alias("outcome"), "stage", "code"
            ),
        ]
    ).join(days, on=place)
    return every.group_by("day", "outcome", "stage", "code").agg(
        pl.len().cast(pl.Int64).alias("records")
    )


def _last(rows: pl.DataFrame, days: int) -> pl.DataFrame:
    return rows.filter(pl.col("day") > pl.col("day").max() - timedelta(days=days))


def _place(amount: str, *among: str) -> pl.Expr:
    return pl.col(amount).rank("min", descending=True).over(among).cast(pl.Int64).alias("place")
