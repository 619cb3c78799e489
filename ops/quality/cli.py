"""``millstream rules quality``: how right each rule was, as a table, as metrics and to read."""

import argparse
import json
import sys
import time
from datetime import date, timedelta
from typing import Any, Final

import polars as pl
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.streams.settings import parse_duration
from operators.connectors.delta.errors import StorageUnavailableError
from ops.quality.count import COUNTS, genuine_since, unknown_payments
from ops.quality.table import QualityError, bring_up

_RULE: Final = ["rule_id", "rule_version"]


def add_parser(subparsers: Any) -> None:
    """Add the command ``quality``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "quality",
        help="how right each rule was, by what is known of the payments that it hit",
        description="Count what became of the payments that each rule hit, in shadow or live: "
        "confirmed as frauds, known to be genuine, or still open; by labels and, of what has none, "
        "by chargebacks. Brings gold/rule_quality to what is known by now, a row per rule version, "
        "day and revision, and prints the last days' sums.",
    )
    parser.add_argument(
        "--days",
        type=int,
        default=30,
        help="up to the newest payment that a rule hit (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--watch",
        type=_seconds,
        metavar="DURATION",
        help="do it again every so often, such as 1m, and print nothing",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="with --watch: serve the rates for Prometheus",
    )
    parser.set_defaults(func=run)


def _seconds(text: str) -> float:
    try:
        found = parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:
        raise argparse.ArgumentTypeError("0 is no time to wait")
    return found


def run(args: argparse.Namespace) -> int:
    """Count; returns 0, or 1 or 2 for what is wrong in the world or with the settings."""
    try:
        root = settings_.load().delta_root
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    if args.metrics_port is not None and args.watch is None:
        settings_.refuse("--metrics-port: needs --watch; without it nobody is there to ask", 2)
    rates = Rates()
    if args.metrics_port is not None:
        try:
            start_http_server(args.metrics_port, registry=rates.registry)
        except OSError as error:
            settings_.refuse(f"--metrics-port {args.metrics_port}: {error.strerror}", 1)
    known: dict[str, int] | None = None
    while True:
        try:
            rows, versions = bring_up(root, known)
            if versions != known:
                shown = summed(rows, args.days, root)
                unknown = unknown_payments(root)
                rates.tell(shown, unknown)
        except (QualityError, StorageUnavailableError) as error:
            settings_.refuse(error, 1)
        if args.watch is None:
            break
        known = versions
        time.sleep(args.watch)
    if args.json:
        found = {"rules": shown.to_dicts(), "labels_of_unknown_payments": unknown}
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        show(shown, Console())
        if unknown:
            print(f"labels of {unknown:,} payments that silver/payments does not have")
    return 0


def summed(rows: pl.DataFrame, days: int, root: str) -> pl.DataFrame:
    """Return the counts of each rule version over the last days, and its rates.

    `fraud_rate` is the share of frauds in the hits of which it is known what they were.
    `false_positive_rate` is the share of the payments known to be genuine that it hit, all of those
    days and not only those that a rule hit; null where there are none. Raises
    StorageUnavailableError.
    """
    last, genuine = rows["day"].max(), 0
    if isinstance(last, date):
        after = last - timedelta(days=days)
        rows, genuine = rows.filter(pl.col("day") > after), genuine_since(root, after)
    made = rows.group_by(_RULE).agg(pl.col(COUNTS).sum()).filter(pl.col("hits") > 0)
    judged = pl.col("confirmed") + pl.col("false_hits")
    return made.sort(_RULE).with_columns(
        pl.when(judged > 0).then(pl.col("confirmed") / judged).alias("fraud_rate"),
        (pl.col("false_hits") / genuine if genuine else pl.lit(None)).alias(
            "false_positive_rate"
        ),
    )


class Rates:
    """The rates as metrics, on an endpoint of their own: flows do not count them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(
                f"millstream_rule_{name}", text, ["rule", "version"], registry=self.registry
            )

        self._gauges = {
            "fraud_rate": gauge("fraud_rate", "Share of frauds in the hits that are known."),
            "false_positive_rate": gauge(
                "false_positive_rate", "Share of the payments known to be genuine that it hit."
            ),
            "open": gauge("open_hits", "Hits of which nobody knows yet what they were."),
        }

        self._unknown = Gauge(
            "millstream_labels_of_unknown_payments",
            "Payments of which there are labels, and which silver does not have.",
            registry=self.registry,
        )

    def tell(self, rows: pl.DataFrame, unknown: int | None) -> None:
        """Show rows as of `summed`, and no others; `unknown` is as of `unknown_payments`."""
        self._unknown.set(unknown or 0)
        for name, each in self._gauges.items():
            each.clear()
            for rule, version, value in rows.select(*_RULE, name).iter_rows():
                if value is not None:
                    each.labels(rule, version).set(value)


def show(rows: pl.DataFrame, console: Console) -> None:
    """Print rows as of `summed`."""
    names = (
        "rule",
        "version",
        "hits",
        "frauds",
        "genuine",
        "open",
        "rate",
        "stopped",
        "wrongly",
    )
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column.header == "rule" else "right"
    for row in rows.iter_rows(named=True):
        rate, money = row["fraud_rate"], ("amount_minor_confirmed", "amount_minor_false")
        table.add_row(
            row["rule_id"],
            str(row["rule_version"]),
            *(f"{row[name]:,}" for name in ("hits", "confirmed", "false_hits", "open")),
            "" if rate is None else f"{rate:.1%}",
            *(f"{row[name] / 100:,.2f}" for name in money),
        )
    console.print(table)
