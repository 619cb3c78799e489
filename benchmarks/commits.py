"""Commits: what a table costs that a flow has committed to for a day, at epochs of 5 s.

A flow's own sink writes rows of silver with its fence, commit by commit. After as many as an hour
has, `millstream tables` compacts the table, sums its log up and deletes what it may, in processes
beside the sink, as the hourly job would. Told are by the number of commits how long a new process
takes to open the table, as a reader and as a flow at its start, how long a commit takes, and what
is there. Then the same without maintenance.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import DeltaTable

from benchmarks import ENVIRON
from benchmarks.figures import add_benchmark, add_json, at_least_one
from benchmarks.runs import ROOT, BenchmarkError
from flows.streams import PAYMENTS
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import table_uri
from operators.records.batches import Progress
from ops.progress import bar
from ops.show_rows import show_rows

EPOCH: Final = timedelta(seconds=5)
HOUR: Final = timedelta(hours=1) // EPOCH
"""Commits from one maintenance to the next."""

_TABLE: Final = PAYMENTS.silver
_TOPIC: Final = "payments"
_PARTITIONS: Final = 4
_LOOKS: Final = (0, 1_000, 5_000, 10_000, 20_000)
_OPENS: Final = 5
_BEGAN: Final = datetime(2026, 3, 1, tzinfo=UTC)
_MAINTENANCE: Final = (["compact"], ["checkpoint"], ["vacuum"])


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``commits``."""
    parser = add_benchmark(
        subparsers,
        "commits",
        "a table of thousands of commits: opening it, committing, what is there",
        __doc__,
    )
    parser.add_argument("--commits", type=at_least_one, default=20_000, metavar="N")
    parser.add_argument(
        "--without", type=int, default=5_000, metavar="N", help="commits without maintenance"
    )
    parser.add_argument(
        "--every", type=at_least_one, default=HOUR, metavar="N",
        help="commits from one maintenance to the next, %(default)s by default",
    )  # fmt: skip
    parser.add_argument("--rows", type=at_least_one, default=100, metavar="N", help="a commit")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print a row for each look."""
    found = []
    for commits, every in ((args.commits, args.every), (args.without, 0)):
        if commits:
            with TemporaryDirectory(prefix="millstream-") as root:
                found += _measured(root, commits, every, args.rows, args.json)
    show_rows(args, found)


def _measured(
    root: str, commits: int, every: int, rows: int, quiet: bool
) -> list[dict[str, Any]]:
    """Commit so often, with maintenance after `every` so many; return what looks have found."""
    looks = {each for each in _LOOKS if each < commits} | {commits}
    flow, took, found = _Flow(root, rows), [0.0], []
    with _maintenance(root) as maintain, bar("commits", commits, quiet) as progress:
        for number in range(commits + 1):
            if every and number and number % every == 0:
                maintain()
            if number in looks:
                found.append(
                    {"commits": number, "maintained": bool(every), **_look(root, took)}
                )
                took = []
            if number < commits:
                took.append(flow.commit(number))
                progress(number + 1)
    return found


class _Flow:
    """A flow's sink of silver, driven as the engine drives it."""

    def __init__(self, root: str, rows: int) -> None:
        self._writer: Any = _sink(root).build_part("tables", _TABLE.name, None)
        self._each, luck = rows // _PARTITIONS or 1, np.random.default_rng(3)
        size = self._each * _PARTITIONS
        self._partition = np.repeat(np.arange(_PARTITIONS, dtype=np.int32), self._each)
        self._rows = pl.DataFrame(
            {name: _values(kind, size, luck) for name, kind in _TABLE.columns.items()},
            schema=dict(_TABLE.columns),
        )

    def commit(self, number: int) -> float:
        """Write an epoch's rows; return how many ms its end has taken."""
        at, first = _BEGAN + number * EPOCH, number * self._each
        offsets = first + np.tile(np.arange(self._each), _PARTITIONS)
        rows = self._rows.with_columns(
            pl.lit(_TOPIC).alias("source_topic"),
            pl.Series("source_partition", self._partition),
            pl.Series("source_offset", offsets),
            pl.lit(at).cast(_TABLE.columns["event_time"]).alias("event_time"),
            pl.lit(at.date()).alias("event_date"),
        )
        last, watermark = first + self._each - 1, int(at.timestamp() * 1_000_000)
        progress = [
            Progress(_TOPIC, partition, _PARTITIONS, last, watermark)
            for partition in range(_PARTITIONS)
        ]
        self._writer.write_batch([rows, *progress])
        began = time.perf_counter()
        self._writer.snapshot()
        return 1000 * (time.perf_counter() - began)


def _sink(root: str) -> DeltaSink:
    places = [(_TOPIC, partition) for partition in range(_PARTITIONS)]
    return DeltaSink(
        root, [_TABLE], flow="payments", flow_version="benchmark", partitions=places
    )


def _values(kind: pl.DataType, size: int, luck: np.random.Generator) -> pl.Series:
    numbers = pl.Series(luck.integers(0, 10**9, size))
    if kind == pl.String:
        return "value-" + numbers.cast(pl.String)
    return (numbers % 2 == 0) if kind == pl.Boolean else (numbers % 10**4).cast(kind)


@contextmanager
def _maintenance(root: str) -> Iterator[Any]:
    """Give what begins maintenance beside the flow, once the one before has ended."""
    running: list[threading.Thread] = []
    problems: list[str] = []

    def work() -> None:
        for command in _MAINTENANCE:
            done = subprocess.run(
                [sys.executable, "-m", "ops.cli", "tables", *command, _TABLE.name, "--root", root],
                capture_output=True, text=True, check=False, env=ENVIRON, cwd=ROOT,
            )  # fmt: skip
            if done.returncode:
                problems.append(done.stderr.strip())

    def begin() -> None:
        end()
        running.append(threading.Thread(target=work))
        running[-1].start()

    def end() -> None:
        if running:
            running.pop().join()
        if problems:
            raise BenchmarkError(f"maintenance failed: {problems[0]}")

    try:
        yield begin
    finally:
        end()


def _look(root: str, took: list[float]) -> dict[str, Any]:
    """Return what the table is like, beside what the commits since the last look have taken."""
    folder = Path(table_uri(root, _TABLE.name))
    log = folder / "_delta_log"
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    handle = DeltaTable(folder)
    opened = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.commits import opened; opened({root!r})"],
        capture_output=True, text=True, check=True, env=ENVIRON, cwd=ROOT,
    )  # fmt: skip
    return {
        **json.loads(opened.stdout),
        "commit_ms": statistics.median(took),
        "slowest_ms": max(took),
        "log_files": sum(1 for _ in log.iterdir()),
        "log_MB": sum(each.stat().st_size for each in log.iterdir()) / 1e6,
        "checkpoint_KB": checkpoints[-1].stat().st_size / 1e3 if checkpoints else 0.0,
        "files": len(handle.file_uris()),
        "there": sum(1 for _ in folder.glob("event_date=*/*.parquet")),
        "MB": sum(each.stat().st_size for each in folder.glob("event_date=*/*.parquet")) / 1e6,
    }


def opened(root: str) -> None:
    """Print how many ms it takes to open the table, as a reader and as a flow at its start."""
    found: dict[str, list[float]] = {"reader_ms": [], "start_ms": []}
    for _ in range(_OPENS):
        began = time.perf_counter()
        DeltaTable(table_uri(root, _TABLE.name)).file_uris()
        read = time.perf_counter()
        sink = _sink(root)
        sink.refuse_others()
        sink.frontiers()
        sink.build_part("tables", _TABLE.name, None)
        found["reader_ms"].append(1000 * (read - began))
        found["start_ms"].append(1000 * (time.perf_counter() - read))
    print(json.dumps({name: statistics.median(times) for name, times in found.items()}))
