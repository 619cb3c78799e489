"""Pictures of what the views say."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from ops.axes import Axes


def _days(days: Sequence[date]) -> list[tuple[float, str]]:
    every = max(len(days) // 8, 1)
    return [(at + 0.5, f"{day:%m-%d}") for at, day in enumerate(days) if at % every == 0]


def _every_day(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with those days between that have none, whose figures are 0."""
    days: list[date] = rows["day"].to_list()
    every = pl.DataFrame({"day": pl.date_range(min(days), max(days), eager=True)})
    return every.join(rows, on="day", how="left", maintain_order="left").fill_null(0)


def revenue_by_day(rows: pl.DataFrame, currency: str) -> str:
    """Draw the revenue of each day, of one currency."""
    rows = _every_day(rows.select("day", pl.col("revenue").cast(pl.Float64)))
    days, values = rows["day"].to_list(), rows["revenue"].to_list()
    axes = Axes((0, len(days)), (0, max(*values, 1)), f"Revenue by day, {currency}")
    axes.grid("day", currency, _days(days))
    for at, (day, value) in enumerate(zip(days, values, strict=True)):
        axes.bar("these", (at + 0.1, at + 0.9), (0, value), f"{day}: {value:,.2f} {currency}")
    return axes.svg()


def by_name(rows: pl.DataFrame, label: str, beside: str, currency: str) -> str:
    """Draw the revenue of each row, and another figure beside it."""
    values = rows["revenue"].cast(pl.Float64).to_list()
    others = rows[beside].cast(pl.Float64).fill_null(0).to_list()
    names = rows[label].to_list()
    axes = Axes((0, len(names)), (0, max(*values, *others, 1)), f"Revenue, {currency}")
    shown = [
        (at + 0.5, name if len(name) < 8 else f"…{name[-6:]}") for at, name in enumerate(names)
    ]
    axes.grid("", currency, shown)
    for at, (name, value, other) in enumerate(zip(names, values, others, strict=True)):
        axes.bar("these", (at + 0.1, at + 0.5), (0, value), f"{name}: {value:,.2f} {currency}")
        axes.bar("wrong", (at + 0.5, at + 0.9), (0, other), f"{name}: {other:,.2f} {currency}")
    return axes.svg()


def funnel(rows: pl.DataFrame) -> str:
    """Draw how many payments of all days came to each stage, as shares of the stage before."""
    stages = {
        "payments": "payments",
        "payments_hit": "hit by a rule",
        "payments_alerted": "alerted",
        "payments_blocked": "would block",
    }
    sums = {name: int(rows[name].sum()) for name in stages}
    # Room for the figure above a bar.
    axes = Axes((0, len(stages)), (0, 1.15), "Alert funnel")
    texts = [(at + 0.5, f"{stages[name]}: {sums[name]:,}") for at, name in enumerate(stages)]
    axes.grid("", "share of the stage before", texts)
    before = 0
    for at, (name, value) in enumerate(sums.items()):
        share = value / (before or value or 1)
        axes.bar("these", (at + 0.15, at + 0.85), (0, share), f"{stages[name]}: {value:,}")
        x, y = axes.at(at + 0.5, share)
        axes.parts.append(
            f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="middle">{share:.2%}</text>'
        )
        before = value
    return axes.svg()


def alerted_by_day(rows: pl.DataFrame) -> str:
    """Draw the payments of each day that live rules alerted."""
    rows = _every_day(rows.select("day", "payments", "payments_alerted"))
    days = rows["day"].to_list()
    most = max(1, *rows["payments_alerted"].to_list())
    axes = Axes((0, len(days)), (0, most), "Payments alerted by day")
    axes.grid("day", "payments alerted", _days(days))
    for at, row in enumerate(rows.iter_rows(named=True)):
        told = f"{row['day']}: {row['payments_alerted']:,} of {row['payments']:,} payments"
        axes.bar("wrong", (at + 0.1, at + 0.9), (0, row["payments_alerted"]), told)
    return axes.svg()


def quality_by_day(rows: pl.DataFrame) -> str:
    """Draw the share of each day's records that are late, repeated and refused."""
    kinds = {"late": "these", "duplicate": "live", "refused": "wrong"}
    wide = (
        rows.drop_nulls("share")
        .group_by("day", "outcome")
        .agg(pl.col("share").sum())
        .pivot("outcome", index="day", values="share")
        .sort("day")
    )
    wide = _every_day(wide)
    days = wide["day"].to_list()
    names = [name for name in kinds if name in wide.columns]
    sums: list[Any] = (
        wide.select(pl.sum_horizontal(names)).to_series().to_list() if names else []
    )
    axes = Axes((0, len(days)), (0, max([*sums, 0.001])), "Data quality by day")
    axes.grid("day", "share of the day's records", _days(days))
    for at, row in enumerate(wide.iter_rows(named=True)):
        low = 0.0
        for name in names:
            high = low + row[name]
            told = f"{row['day']}: {row[name]:.2%} {name}"
            axes.bar(kinds[name], (at + 0.1, at + 0.9), (low, high), told)
            low = high
    return axes.svg()
