"""Report: what the views say, as one page with pictures."""

from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import polars as pl
from duckdb import DuckDBPyConnection

from ops.bi import pictures
from ops.bi.views import views
from ops.currencies import digits
from ops.page import Grid, document, key, section, table, tiles

_SHOWN: Final = 10
"""How many rows of a table, and bars of a picture, are shown."""

_ASKED: Final = {
    "executive_dashboard": "ORDER BY revenue_30d DESC, currency",
    "daily_sales": "ORDER BY day, currency",
    "monthly_revenue": "ORDER BY month, currency",
    "top_categories_30d": "ORDER BY currency, place, merchant_category",
    "category_performance": "ORDER BY currency, revenue DESC, merchant_category, country",
    "terminal_comparison": "ORDER BY currency, revenue DESC, terminal_id",
    "alert_funnel": "ORDER BY day",
    "data_quality": "ORDER BY day, outcome, stage, code",
}
"""The views that the page is of, and how their rows are asked for. None that is of customers."""

Figures = dict[str, pl.DataFrame]


def figures(connection: DuckDBPyConnection) -> Figures:
    """Return the rows of each view that the page is of, of those that are there."""
    there = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
    return {
        name: connection.sql(f"SELECT * FROM {name} {order}").pl()  # noqa: S608 # our own names
        for name, order in _ASKED.items()
        if name in there
    }


def page(found: Figures) -> str:
    """Return the page."""
    days: list[date] = found["daily_sales"]["day"].to_list()
    told = f"{days[0]} to {days[-1]}, UTC" if days else "no day has closed yet"
    abouts = {view.name: view.about for view in views()}
    lines = [told, "Amounts are in units of their currency; those of different ones are apart."]
    return document("Payments", lines, _sections(found, abouts))


def _sections(found: Figures, abouts: dict[str, str]) -> Iterator[str]:
    for row in found.get("executive_dashboard", pl.DataFrame()).iter_rows(named=True):
        yield section(f"{row['currency']}, 30 days to {row['newest_day']}", _tiles(row))
    sales = found["daily_sales"]
    for currency in _currencies(found):
        mine = sales.filter(pl.col("currency") == currency)
        picture = pictures.revenue_by_day(mine, currency)
        grid = _grid(_of(found, "monthly_revenue", currency), currency)
        yield section(f"Revenue by day, {currency}", picture + grid)
        for name, label, title in (
            ("top_categories_30d", "merchant_category", "Top categories in 30 days"),
            ("terminal_comparison", "terminal_id", "Terminals in 30 days, beside their peers"),
        ):
            rows = _of(found, name, currency).head(_SHOWN)
            if rows.height:
                beside = (
                    "peers_revenue" if "peers_revenue" in rows.columns else "previous_revenue"
                )
                picture = pictures.by_name(rows, label, beside, currency)
                told = "mean of its peers" if beside == "peers_revenue" else "30 days before"
                keys = key(("these", "revenue"), ("wrong", told))
                yield section(f"{title}, {currency}", picture + keys + _grid(rows, currency))
        rows = _of(found, "category_performance", currency).head(_SHOWN)
        yield section(f"Categories by country, all days, {currency}", _grid(rows, currency))
    if "alert_funnel" in found and found["alert_funnel"].height:
        rows = found["alert_funnel"]
        about = f"<p>{abouts['alert_funnel']}</p>"
        keys = key(("these", "payments"), ("wrong", "alerted by live rules"))
        drawn = pictures.funnel(rows) + pictures.alerted_by_day(rows)
        yield section("Alert funnel", about + drawn + keys)
    if "data_quality" in found and found["data_quality"]["share"].count():
        rows = found["data_quality"]
        keys = key(("these", "late"), ("live", "duplicate"), ("wrong", "refused"))
        worst = (
            rows.filter(pl.col("outcome") != "in time")
            .group_by("outcome", "stage", "code")
            .agg(pl.col("records").sum())
            .sort("records", "outcome", "stage", "code", descending=[True, False, False, False])
        )
        yield section("Data quality", pictures.quality_by_day(rows) + keys + _grid(worst, ""))


def _currencies(found: Figures) -> list[str]:
    """Return the currencies, those with most payments first."""
    sums = found["daily_sales"].group_by("currency").agg(pl.col("payments").sum())
    ordered = sums.sort("payments", "currency", descending=[True, False])
    return ordered["currency"].to_list()


def _of(found: Figures, name: str, currency: str) -> pl.DataFrame:
    return found[name].filter(pl.col("currency") == currency).drop("currency")


def _tiles(row: dict[str, Any]) -> str:
    told = [
        ("revenue", f"{row['revenue_30d']:,.0f}"),
        ("payments", f"{row['payments_30d']:,}"),
        ("against the 30 days before", _share(row["growth_30d"], sign="+")),
        ("revenue of 7 days", f"{row['revenue_7d']:,.0f}"),
        ("revenue of the newest day", f"{row['revenue_1d']:,.0f}"),
        ("customers", f"{row['customers_30d']:,}"),
        ("terminals", f"{row['terminals_30d']:,}"),
        ("live alerts, all currencies", f"{row['live_alerts_30d']:,}"),
    ]
    return tiles(told)


def _share(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.1%}"


_SHARES: Final = ("growth", "change", "revenue_share")


def _grid(rows: pl.DataFrame, currency: str) -> str:
    """Return rows as a table of texts."""
    places = digits(currency)

    def text(name: str, value: Any) -> str:
        if value is None:
            return "-"
        if name in _SHARES:
            return _share(value, "" if name == "revenue_share" else "+")
        if name == "to_peers":
            return f"{value:.2f}"
        # Amounts alone have fractions.
        whole = rows.schema[name].is_integer()
        if whole or not rows.schema[name].is_numeric():
            return f"{value:,}" if whole else str(value)
        return f"{value:,.{places}f}"

    cells = [
        [text(name, value) for name, value in row.items()] for row in rows.iter_rows(named=True)
    ]
    return table(Grid([name.replace("_", " ") for name in rows.columns], cells))
