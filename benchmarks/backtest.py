"""Backtest: recorded payments a CPU-minute, with the live rules alone and with the drafts.

``millstream rules backtest`` runs over a file of as many payments as asked for, made up as the
public data set is: 91 days, 175 payments a card, 87 a terminal, one in 120 a fraud. Once with the
stream's own rules, and once with the drafts, their features, also by terminal and from labels, and
their model; the ratio is of the two beside each other, in turns. What a start takes is told apart
by a file of few payments.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks import ENVIRON
from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.runs import ROOT, BenchmarkError
from flows.streams import PAYMENTS

_FIRST: Final = datetime(2018, 4, 1, tzinfo=UTC)
_DAYS: Final = 91
_FEW: Final = 2_000
_PER_CARD, _PER_TERMINAL, _PER_FRAUD = 175, 87, 120
LIVE, DRAFTS = "live rules", "drafts and model"


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``backtest``."""
    parser = add_benchmark(
        subparsers, "backtest", "rules over recorded payments, payments a CPU-minute", __doc__
    )
    parser.add_argument("--payments", type=at_least_one, default=872_795, metavar="N")
    parser.add_argument("--turns", type=at_least_one, default=2, metavar="N")
    parser.add_argument(
        "--input", type=Path, metavar="PARQUET", help="a file of recorded payments instead"
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print the figures."""
    ways = {LIVE: ["--rules", str(PAYMENTS.rules), "--model", "none"], DRAFTS: []}
    with tempfile.TemporaryDirectory(prefix="millstream-") as work:
        few, file = Path(work) / "few.parquet", args.input or Path(work) / "many.parquet"
        recorded(_FEW).write_parquet(few)
        if args.input is None:
            recorded(args.payments).write_parquet(file)
        count = pl.scan_parquet(file).select(pl.len()).collect().item()
        start = {way: _took(few, more) for way, more in ways.items()}
        turns: list[dict[str, float]] = []
        for number in range(args.turns):
            order = [*ways] if number % 2 == 0 else [*reversed(ways)]
            turns.append({way: _took(file, ways[way]) for way in order})
    figures: dict[str, float] = {"payments": count}
    for way in ways:
        used = median(turn[way] for turn in turns)
        figures[f"{way}: start, CPU-s"] = start[way]
        figures[f"{way}: CPU-s, start included"] = used
        figures[f"{way}: payments a CPU-minute"] = 60 * count / used
    ratios = sorted(turn[LIVE] / turn[DRAFTS] for turn in turns)
    figures |= {
        "drafts / live": median(ratios), "lowest": ratios[0], "highest": ratios[-1],
        "others at work: load": os.getloadavg()[0],
    }  # fmt: skip
    show(figures, args.json)


def recorded(count: int) -> pl.DataFrame:
    """Return payments in the public data set's layout."""
    luck = np.random.default_rng(1)
    seconds = np.sort(luck.integers(0, _DAYS * 86_400, count))
    return pl.DataFrame(
        {
            "transaction_id": np.arange(count),
            "event_time": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + _FIRST,
            "customer_id": luck.integers(0, max(count // _PER_CARD, 1), count),
            "terminal_id": luck.integers(0, max(count // _PER_TERMINAL, 1), count),
            "amount": luck.lognormal(3.5, 0.9, count).clip(0.01, 5_000).round(2),
            "is_fraud": luck.integers(0, _PER_FRAUD, count) == 0,
        }
    )


def _took(file: Path, more: list[str]) -> float:
    """Return the CPU seconds of a backtest of the last month of a file; raises BenchmarkError."""
    first = (_FIRST + timedelta(days=61)).date()
    command = [sys.executable, "-m", "ops.cli", "rules", "backtest", "--json"]
    command += ["--input", str(file), "--from", str(first), *more]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=ENVIRON, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise BenchmarkError(f"the backtest failed: {said.read().decode().strip()}")
    return used.ru_utime + used.ru_stime
