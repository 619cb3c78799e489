"""Joins and patterns at 1 k to 1 M live keys: events per CPU-second, and their snapshots."""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks.figures import add_json, show
from benchmarks.keyed import Stream, Worker, figures, rate
from operators.joins import IntervalJoin, OpenIntervals, OpenVersions, TemporalJoin
from operators.patterns import OpenMatches, Pattern, Step
from operators.records.batches import Batch, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import Side
from operators.steps import joins, patterns

KEYS: Final = (1_000, 20_000, 200_000, 1_000_000)
BATCH: Final = 20_000
BOUND: Final = 1_000
EPOCHS: Final = 20

_TYPES: Final[dict[str, pl.DataType]] = {
    "card_id": pl.String(), "payment_id": pl.Int64(), "amount": pl.Int64(),
}  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``joins``."""
    parser = subparsers.add_parser(
        "joins", help="joins and patterns by live keys", description=__doc__
    )
    parser.add_argument("--keys", type=int, nargs="+", default=list(KEYS), metavar="N")
    parser.add_argument("--events", type=int, default=2_000_000, metavar="N")
    parser.add_argument(
        "--bound", type=int, default=BOUND, metavar="N",
        help="µs of out-of-orderness; of a join so many rows wait for the watermark",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    found: dict[str, Any] = {}
    for bench in (interval_join, temporal_join, pattern):
        for keys in args.keys:
            found |= bench(keys, args.events, args.bound)
    show(found, args.json)


def events(topic: str, keys: int, bound: int, start: int, seed: int) -> Batch:
    """Return BATCH records, one a µs from `start` on and up to `bound` later, over the keys."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(start, start + BATCH)
    times = numbers + rng.integers(0, bound, BATCH)
    names = pl.Series("card_id", rng.integers(0, keys, BATCH)).cast(pl.String)
    largest = np.maximum.accumulate(times)
    before = np.append(largest[:1], largest[:-1])
    frame = pl.DataFrame(
        {
            "source_topic": pl.repeat(topic, BATCH, eager=True),
            "source_partition": pl.zeros(BATCH, pl.Int32, eager=True),
            "source_offset": numbers,
            "card_id": "card-" + names.str.zfill(12),
            "payment_id": numbers,
            "amount": rng.integers(0, 100, BATCH),
            "event_time": pl.Series(times).cast(TIME),
            "watermark": pl.Series(before - bound).cast(TIME),
        }
    )
    mark = int(largest[-1]) - bound
    return Batch(Progress(topic, 0, 1, int(numbers[-1]), mark), frame)


def batches(
    topics: list[str], keys: int, bound: int, first: int, last: int
) -> Iterator[list[Batch]]:
    """Yield activations that bring a batch of each topic."""
    for start in range(first, last, BATCH):
        yield [
            events(topic, keys, bound, start, 31 * start + i) for i, topic in enumerate(topics)
        ]


def _run(
    name: str, keys: int, events: int, bound: int, worker: Worker, topics: list[str], span: int
) -> dict[str, Any]:
    warm = max(span, keys) + bound + 5 * BATCH
    last = warm + events // len(topics)
    some = partial(batches, topics, keys, bound)
    found = rate(worker, some(0, warm), some(warm, last))
    return figures(name, keys, worker, found, some(last, last + EPOCHS * BATCH))


def interval_join(keys: int, events: int, bound: int) -> dict[str, Any]:
    """Pair events of two topics; each side keeps about one row per key."""
    left = Side("l", ("card_id",), {"card_id": "card_id", "payment_id": "payment_id"}, _TYPES)
    right = Side("r", ("card_id",), {"chargeback_id": "payment_id", "amount": "amount"}, _TYPES)
    join = IntervalJoin(left, right, -keys // 2, keys // 2, "left")
    worker = Worker(
        lambda: OpenIntervals(join, {"l": 1, "r": 1}),
        joins._Intervals,
        {"l": Stream(left.rows), "r": Stream(right.rows, 1)},
    )
    return _run("interval join", keys, events, bound, worker, ["l", "r"], keys)


def temporal_join(keys: int, events: int, bound: int) -> dict[str, Any]:
    """Enrich events from a table that changes as often as there are events."""
    left = Side("l", ("card_id",), {"card_id": "card_id", "payment_id": "payment_id"}, _TYPES)
    right = Side("r", ("card_id",), {"version": "payment_id", "limit": "amount"}, _TYPES)
    join = TemporalJoin(left, right)
    worker = Worker(
        lambda: OpenVersions(join, {"l": 1, "r": 1}),
        joins._Versions,
        {"l": Stream(left.rows), "r": Stream(join.versions.rows, 1)},
    )
    return _run("temporal join", keys, events, bound, worker, ["l", "r"], 2 * keys)


def pattern(keys: int, events: int, bound: int) -> dict[str, Any]:
    """Find small, small, big; a fifth of the events begins a match."""
    side = Side("p", ("card_id",), {"payment_id": "payment_id", "amount": "amount"}, _TYPES)
    small, big = "amount < 20", "amount >= 95"
    steps = Step("first", small), Step("second", small), Step("big", big)
    pattern = Pattern("small_small_big", side, steps, within=5 * keys)
    worker = Worker(
        lambda: OpenMatches(pattern, {"p": 1}),
        patterns._Group,
        {"p": Stream(pattern.rows)},
    )
    return _run("pattern", keys, events, bound, worker, ["p"], 5 * keys)
