"""Sizes: what a payment takes in each table of the payments flow, and a key in its windows' state.

The flow reads simulated payments with every trouble to their end, and all windows close. Then
`millstream tables compact` puts each table's files together, whose bytes are divided by the
records. As the simulator has it, a customer, with one card, pays twice a day, at terminals near
home: so what is kept by customer and day has half a row a payment, and so on. State is that of a
window's key with one payment, in a snapshot of many; of features see the benchmark `windows`.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.runs import Code, run_flow
from benchmarks.topics import fill
from benchmarks.windows import Groups
from flows.streams import PAYMENTS, upkeep_of
from operators.connectors.delta.look import look
from operators.connectors.delta.maintenance import compact
from operators.records.batches import Batch, Progress
from operators.records.tables import TIME
from ops.local import start_broker

_EPOCH_S: Final = 10
_BATCH: Final = 20_000


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``sizes``."""
    parser = add_benchmark(
        subparsers, "sizes", "bytes a payment in tables, and a key in state", __doc__
    )
    parser.add_argument("--events", type=at_least_one, default=500_000, metavar="N")
    parser.add_argument("--cards", type=at_least_one, default=20_000, metavar="N")
    parser.add_argument("--keys", type=at_least_one, default=200_000, metavar="N")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print the figures."""
    figures: dict[str, float] = {}
    with start_broker() as bootstrap:
        topic, count = fill(bootstrap, PAYMENTS, args.events, args.cards)
        figures["records"] = count

        def measured(root: Path) -> None:
            for table in PAYMENTS.all_tables:
                found = look(str(root), table, PAYMENTS.name, [])
                if found is None:
                    continue
                before = found.size
                compact(str(root), table, upkeep_of(table.name).target)
                after = look(str(root), table, PAYMENTS.name, [])
                assert after is not None  # it was there
                figures[f"{table.name}: rows a record"] = after.rows / count
                figures[f"{table.name}: bytes a record"] = after.size / count
                figures[f"{table.name}: before compaction"] = before / count
                figures[f"{table.name}: bytes"] = after.size

        run_flow(Code(), "payments", bootstrap, topic, _EPOCH_S, measured)
    for name in PAYMENTS.windows:
        figures[f"state of {name}: bytes a key"] = state_of(name, args.keys)
    show(figures, args.json)


def state_of(window: str, keys: int) -> float:
    """Return the bytes of a snapshot of a window of payments, by its keys, each with a payment."""
    groups = Groups(PAYMENTS.windows[window])
    for first in range(0, keys, _BATCH):
        groups.feed([_payments(first, min(_BATCH, keys - first))])
    return groups.snapshot() / keys


def _payments(first: int, count: int) -> Batch:
    """Return payments of one minute, each of a card, a customer and a terminal of its own."""
    rng, numbers = np.random.default_rng(first), np.arange(first, first + count)
    times = np.full(count, 1_750_000_000_000_000) + rng.integers(0, 60_000_000, count)
    frame = pl.DataFrame(
        {
            "source_topic": pl.repeat("payments", count, eager=True),
            "source_partition": pl.zeros(count, pl.Int32, eager=True),
            "source_offset": numbers,
            "payment_id": [f"payment-{n:012d}" for n in numbers],
            "card_id": [f"card-{n:08d}" for n in numbers],
            "customer_id": [f"customer-{n:08d}" for n in numbers],
            "terminal_id": [f"terminal-{n:08d}" for n in numbers],
            "merchant_category": [f"{n % 20:04d}" for n in numbers],
            "country": [("BE", "FR", "DE", "NL")[n % 4] for n in numbers],
            "currency": pl.repeat("EUR", count, eager=True),
            "amount_minor": rng.integers(1, 100_000, count),
            "event_time": times,
            "watermark": np.full(count, int(times.min()) - 30_000_000),
        }
    ).with_columns(pl.col("event_time", "watermark").cast(TIME))
    return Batch(
        Progress("payments", 0, 1, int(numbers[-1]), int(times.min()) - 30_000_000), frame
    )
