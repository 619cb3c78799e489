"""Dead letters: what looking into a large quarantine costs, as a process of its own each time."""

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import write_deltalake

from benchmarks import ENVIRON
from benchmarks.figures import add_json, show
from flows.streams import PAYMENTS
from operators.connectors.delta.acts import EDITS
from operators.connectors.delta.layout import columns_of, laid_out
from operators.connectors.delta.table import open_table
from operators.records.fingerprints import fingerprint, kind_of

_KINDS: Final = 40
_ROWS_PER_COMMIT: Final = 250_000
_BYTES: Final = 40
_PARTITIONS: Final = 12
_BEGAN: Final = datetime(2026, 3, 1, tzinfo=UTC)


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``dlq``."""
    parser = subparsers.add_parser(
        "dlq", help="summary, list and show of a large quarantine", description=__doc__
    )
    parser.add_argument("--rejects", type=int, default=10_000_000, metavar="N")
    parser.add_argument("--edited", type=int, default=100_000, metavar="N", help="of these")
    parser.add_argument("--root", type=Path, metavar="DIR", help="made there, and kept")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Make the tables if need be, and look at them."""
    with TemporaryDirectory() as folder:
        root = args.root or Path(folder)
        if not (root / PAYMENTS.quarantine.name).exists():
            make(root, args.rejects, args.edited)
        last = args.rejects - 1
        record = f"payments/{last % _PARTITIONS}/{last // _PARTITIONS}"
        figures: dict[str, float] = {}
        for what, arguments in (
            ("summary", ["summary"]),
            ("list", ["list", "--limit", "20"]),
            ("list of a code", ["list", "--limit", "20", "--code", "code_7"]),
            ("show", ["show", record]),
            ("show of an old one", ["show", "payments/3/17"]),
        ):
            began, before = time.monotonic(), _cpu()
            command = [sys.executable, "-m", "ops.cli", "dlq", *arguments, "--root", str(root)]
            subprocess.run(command, check=True, env=ENVIRON, stdout=subprocess.DEVNULL)
            figures[f"{what} seconds"] = time.monotonic() - began
            figures[f"{what} cpu seconds"] = _cpu() - before
        show(figures, args.json)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(root: Path, rejects: int, edited: int) -> None:
    """Write a quarantine of as many rejects, of 40 kinds, and edits of some."""
    table = PAYMENTS.quarantine
    handle = open_table(str(root), table)
    columns = columns_of(handle)
    codes = [f"code_{number}" for number in range(_KINDS)]
    messages = [f"field amount_minor: written as kind {chr(65 + n)}" for n in range(_KINDS)]
    kinds = [
        fingerprint(kind_of("payments", "contract", code, "2", message))
        for code, message in zip(codes, messages, strict=True)
    ]
    luck = np.random.default_rng(3)
    for first in range(0, rejects, _ROWS_PER_COMMIT):
        n = min(_ROWS_PER_COMMIT, rejects - first)
        numbers = np.arange(first, first + n)
        kind = pl.Series(luck.integers(0, _KINDS, n))
        raw = luck.bytes(n * _BYTES)
        values = pl.Series([raw[at : at + _BYTES] for at in range(0, n * _BYTES, _BYTES)])
        times = pl.Series(numbers * 1_000) + int(_BEGAN.timestamp() * 1e6)
        rows = pl.DataFrame(
            {
                "source_topic": pl.repeat("payments", n, eager=True),
                "source_partition": (numbers % _PARTITIONS).astype(np.int32),
                "source_offset": numbers // _PARTITIONS,
                "stage": pl.repeat("contract", n, eager=True),
                "code": pl.Series(codes).gather(kind),
                "message": pl.Series(messages).gather(kind),
                "schema_id": pl.repeat("2", n, eager=True),
                "kafka_timestamp": times.cast(table.columns["kafka_timestamp"]),
                "value": values,
                "fingerprint": pl.Series(kinds).gather(kind),
                "attempts": pl.repeat(1, n, eager=True, dtype=pl.Int32),
                "flow_version": pl.repeat("0", n, eager=True),
                "written_at": pl.repeat(_BEGAN + timedelta(days=1), n, eager=True),
            }
        )
        rows = rows.with_columns(
            pl.lit(None, kind).alias(name)
            for name, kind in table.columns.items()
            if name not in rows.columns
        ).select(*table.schema)
        write_deltalake(handle, laid_out(rows, columns), mode="append")
    if edited:
        numbers = np.arange(0, rejects, max(rejects // edited, 1))[:edited]
        n = len(numbers)
        rows = pl.DataFrame(
            {
                "edit": pl.repeat("20260302T000000-abcdef", n, eager=True),
                "number": pl.repeat(1, n, eager=True, dtype=pl.Int64),
                "stream": pl.repeat("payments", n, eager=True),
                "source_topic": pl.repeat("payments", n, eager=True),
                "source_partition": (numbers % _PARTITIONS).astype(np.int32),
                "source_offset": numbers // _PARTITIONS,
                "fingerprint": pl.repeat(kinds[0], n, eager=True),
                "value": pl.Series([b"x"] * n),
            }
        )
        edits = open_table(str(root), EDITS)
        rows = rows.with_columns(
            pl.lit(None, kind).alias(name)
            for name, kind in EDITS.schema.items()
            if name not in rows.columns
        ).select(*EDITS.schema)
        write_deltalake(edits, laid_out(rows, columns_of(edits)), mode="append")
