"""``millstream capacity``: what a load of payments needs, by figures that were measured."""

import argparse
import json
import math
import sys
from datetime import timedelta
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.streams import PAYMENTS
from flows.streams.settings import parse_duration

# On two shared cores, of payments with every trouble; docs/capacity.md says how each was measured.
EVENTS_PER_CPU_SECOND: Final = 100_300
REDIS_US_PER_EVENT: Final = 1.5
REDIS_BYTES_PER_ID: Final = 44
PROCESS_MB: Final = 1_467
# Of features, and of open windows: sessions, and a customer with a card; minutes and days.
STATE_BYTES_PER_CARD: Final = {"features": 88, "card_sessions": 50, "customer_day": 22}
STATE_BYTES_PER_TERMINAL: Final = {"terminal_minute": 33, "terminal_day": 27}
TABLE_BYTES_PER_EVENT: Final = {
    "bronze/payments": 54.8,
    "silver/payments": 49.6,
    "silver/duplicates": 0.1,
    "quarantine/payments": 0.4,
    "gold/alerts": 0.1,
    "gold/decisions": 0.1,
    "gold/late": 0.9,
    "gold/terminal_minute": 9.3,
    "gold/terminal_day": 2.5,
    "gold/customer_day": 3.7,
    "gold/card_sessions": 24.6,
}
# However many payments there are: by category and country, by partition and minute, by kind.
TABLE_BYTES_A_DAY: Final = {
    "gold/category_hour": 61_000,
    "gold/data_quality": 1_830_000,
    "gold/schema_drift": 0,
}
TABLES: Final = len(PAYMENTS.all_tables)
SILVER_ROWS_PER_CPU_SECOND: Final = 100_000

# Chosen, not measured: room for what comes unevenly, and for a state while it is written.
BUSY: Final = 0.7
STATE_COPIES: Final = 3

_GIB: Final = 2**30


def needs(
    rate: float,
    peak: float,
    cards: int,
    terminals: int,
    ids: timedelta,
    keep: timedelta,
    epoch: timedelta,
    cpu_rate: float = EVENTS_PER_CPU_SECOND,
) -> dict[str, float]:
    """Return what a load needs; `rate` and `peak` are events a second.

    `ids` is MILLSTREAM_DEDUP_TTL, `keep` for how long tables are kept, `epoch` what ends in a
    commit, and `cpu_rate` how many events the flow makes in a CPU-second.
    """
    day = 86_400
    state = cards * sum(STATE_BYTES_PER_CARD.values())
    state += terminals * sum(STATE_BYTES_PER_TERMINAL.values())
    daily = rate * day * sum(TABLE_BYTES_PER_EVENT.values()) + sum(TABLE_BYTES_A_DAY.values())
    rows = rate * keep.total_seconds()
    return {
        "cores": peak / cpu_rate / BUSY,
        "redis_cores": peak * REDIS_US_PER_EVENT / 1e6 / BUSY,
        "memory_gib": (PROCESS_MB * 1e6 + STATE_COPIES * state) / _GIB,
        "redis_gib": rate * ids.total_seconds() * REDIS_BYTES_PER_ID / _GIB,
        "recovery_gib": STATE_COPIES * state / _GIB,
        "tables_gib_a_day": daily / _GIB,
        "tables_gib": daily * keep.total_seconds() / day / _GIB,
        "files_a_day_before_compaction": TABLES * day / epoch.total_seconds(),
        "hours_to_make_state_of_silver": rows / SILVER_ROWS_PER_CPU_SECOND / 3600,
        "hours_to_catch_up_a_day": 24 * rate / (cpu_rate * BUSY),
    }


_TEXTS: Final = {
    "cores": "cores, at the peak",
    "redis_cores": "of Redis' one core, at the peak",
    "memory_gib": "GiB of memory",
    "redis_gib": "GiB of Redis",
    "recovery_gib": "GiB of recovery volume",
    "tables_gib_a_day": "GiB of tables a day",
    "tables_gib": "GiB of tables, all that is kept",
    "files_a_day_before_compaction": "files a day at the most, before they are compacted",
    "hours_to_make_state_of_silver": "hours of a core to make state anew of all of silver",
    "hours_to_catch_up_a_day": "hours of a core to catch up with a day",
}


def add_parser(subparsers: Any) -> None:
    """Add the command ``capacity``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "capacity",
        help="what a load needs, by figures that were measured",
        description="Say what a load of payments needs: cores, memory, Redis, recovery volume and "
        "tables. By figures measured on a machine that may be faster or slower than yours: "
        "measure on yours with `python -m benchmarks roofline`.",
    )
    parser.add_argument(
        "--rate", type=float, required=True, help="payments a second, on average"
    )
    parser.add_argument(
        "--peak", type=float, help="at the most (default: three times the rate)"
    )
    parser.add_argument("--cards", type=int, default=1_000_000, help="with payments in 90 days")
    parser.add_argument("--terminals", type=int, default=100_000, help="at once")
    for name, default, text in (
        ("ids", "7d", "for how long ids are remembered, MILLSTREAM_DEDUP_TTL"),
        ("keep", "365d", "for how long tables are kept"),
        ("epoch", "10s", "how often tables are committed"),
    ):
        parser.add_argument(f"--{name}", default=default, help=f"{text} (default: {default})")
    parser.add_argument("--cpu-rate", type=float, default=EVENTS_PER_CPU_SECOND,
                        help="events per CPU-second, as measured on your machine "
                        f"(default: {EVENTS_PER_CPU_SECOND})")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what the load needs; returns 0, or 2 for numbers that are none."""
    problems = [
        f"--{name.replace('_', '-')} is {value}, not more than 0"
        for name in ("rate", "peak", "cards", "terminals", "cpu_rate")
        if (value := getattr(args, name)) is not None and not 0 < value < math.inf
    ]
    spans: dict[str, timedelta] = {}
    for name in ("ids", "keep", "epoch"):
        try:
            spans[name] = parse_duration(getattr(args, name))
        except ValueError as error:
            problems.append(f"--{name}: {error}")
    if spans.get("epoch") == timedelta(0):
        problems.append("--epoch is 0s, not more than 0")
    if problems:
        settings_.refuse("\n".join(problems), 2)
    peak = args.peak if args.peak is not None else 3 * args.rate
    found = needs(args.rate, peak, args.cards, args.terminals, **spans, cpu_rate=args.cpu_rate)
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    for name, text in _TEXTS.items():
        value = found[name]
        table.add_row(f"{value:,.0f}" if value >= 100 else f"{value:.2f}", text)
    Console().print(table)
    return 0
