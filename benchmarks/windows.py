"""Event-time operators at 1 k to 1 M live keys: events per CPU-second, and their snapshots.

Each operator gets batches of 20,000 records, made beforehand, of keys drawn uniformly, and runs
as in a flow of 16 key groups, without Bytewax around it. Text keys; Polars with one thread, as in
the flow. Records come at the same rate of event time whatever the keys, so that more keys have
fewer records each in a window, and there are more windows to emit for as many records; or, with
`--per-key`, at a rate that grows with the keys, so that a key has as many in a window at any
number of keys.
"""

import argparse
import json
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figures import add_json
from flows.streams import PAYMENTS
from operators.features import PartitionFeatures
from operators.records.batches import Batch, Progress, merge
from operators.records.tables import TIME
from operators.state.shards import SHARDS
from operators.state.snapshots import IncrementalSnapshots
from operators.steps.windows import assign, late_rows
from operators.windows import (
    Emission,
    Intake,
    Slot,
    Windows,
    agg,
    new_panes,
    session,
    sliding,
    tumbling,
)

GROUPS = 16
BATCH = 20_000
EPOCHS = 20
BOUND = 30_000_000
AGGREGATES = {
    "payments": agg.count(),
    "amount_sum": agg.sum("amount_minor"),
    "amount_max": agg.max("amount_minor"),
}


@dataclass(frozen=True)
class Case:
    """An operator, how many records to feed it, and how many come per second of event time.

    That is the rate at any number of keys, or at a million.
    """

    windows: Windows | None
    events: int
    rate: int


CASES = {
    "tumbling": Case(Windows(("card_id",), tumbling("1m"), AGGREGATES), 5_000_000, 10_000),
    "sliding": Case(
        Windows(("card_id",), sliding("1h", every="5m"), AGGREGATES), 10_000_000, 1_000
    ),
    "session": Case(Windows(("card_id",), session("30m"), AGGREGATES), 4_000_000, 300),
    "ten features": Case(None, 4_000_000, 46),
}


def batches(keys: int, events: int, rate: float, first: int = 0) -> Iterator[Batch]:
    """Yield batches of records with `rate` of them per second of event time, up to 20 s early."""
    rng = np.random.default_rng(first)
    names = pl.Series([f"card-{n:012d}" for n in range(keys)])
    for start in range(first, first + events, BATCH):
        offsets = np.arange(start, min(start + BATCH, first + events))
        times = (offsets * (1_000_000 / rate)).astype(np.int64) + 1_750_000_000_000_000
        watermark = max(int(times[0]) - BOUND, 0)
        frame = pl.DataFrame(
            {
                "source_topic": pl.repeat("payments", len(offsets), eager=True),
                "source_partition": pl.zeros(len(offsets), pl.Int32, eager=True),
                "source_offset": offsets,
                "card_id": names[rng.integers(0, keys, len(offsets))],
                "event_time": times - rng.integers(0, 20_000_000, len(offsets)),
                "amount_minor": rng.integers(1, 100_000, len(offsets)),
                "latitude": rng.uniform(-60, 60, len(offsets)),
                "longitude": rng.uniform(-180, 180, len(offsets)),
                "watermark": np.full(len(offsets), watermark),
            }
        ).with_columns(pl.col("event_time", "watermark").cast(TIME))
        after = int(times[-1]) - BOUND
        yield Batch(Progress("payments", 0, 1, int(offsets[-1]), after), frame)


class Groups:
    """An operator's key groups, as its Bytewax steps run them."""

    def __init__(self, windows: Windows, step: str = "", told: Sequence[str] = ()) -> None:
        """`step` and `told` are as of `assign`."""
        self.windows, self.step, self.told = windows, step, told
        self.intakes = [Intake(windows) for _ in range(GROUPS)]
        self.panes: dict[tuple[int, int], Slot] = {}
        self.closing = Emission(windows)
        self.touched: set[tuple[int, int]] = set()
        self.emitted = 0

    def feed(self, batches: list[Batch]) -> tuple[pl.DataFrame | None, list[pl.DataFrame]]:
        """Take what one activation brings; return the panes that close, and late rows."""
        dues, missed = [], []
        for key, item in assign(batches, self.windows, GROUPS, self.step, self.told):
            if isinstance(item, pl.DataFrame):
                missed.append(item)
                continue
            group = int(key)
            work, late = self.intakes[group].advance(item.progress, item.rows)
            if late is not None:
                missed.append(late_rows(self.step, late, self.told))
            for each in work:
                place = group, each.slot
                panes = self.panes.setdefault(place, new_panes(self.windows))
                due = panes.advance(each.rows, each.watermark)
                if due is not None:
                    dues.append(due)
                self.touched.add(place)
        made = self.closing.close(dues)
        self.emitted += 0 if made is None else made.height
        return made, missed

    def snapshot(self) -> int:
        """Snapshot what was touched since the last one, as Bytewax does; return its bytes."""
        states: list[Any] = [intake.dump() for intake in self.intakes]
        states += [self.panes[place].dump() for place in self.touched]
        self.touched.clear()
        return sum(len(pickle.dumps(state)) for state in states)

    def whole(self) -> int:
        """Snapshot everything; return its bytes."""
        self.touched.update(self.panes)
        return self.snapshot()


class Partition:
    """The features of one source partition, as their Bytewax steps run them."""

    def __init__(self, make: Callable[[], PartitionFeatures]) -> None:
        """`make` returns what works the features out."""
        self.kept = IncrementalSnapshots(make())
        self.part: int | None = None
        self.emitted = 0

    def feed(self, batches: list[Batch]) -> Batch:
        """Take what one activation brings; return it with features and the watermark."""
        part = self.kept.turn()
        self.part = self.part if part is None else part
        state = self.kept.state
        frame = state.advance(merge(batches).drop("watermark", strict=False))
        self.emitted += frame.height
        return Batch(batches[-1].progress.at(state.watermark.current), frame)

    def snapshot(self) -> int:
        """Snapshot what Bytewax would; return its bytes."""
        states, part = [self.kept.head()], self.part
        self.part = None
        if part is not None:
            states.append(self.kept.entry(part))
        return sum(len(pickle.dumps(state)) for state in states)

    def whole(self) -> int:
        """Snapshot everything; return its bytes."""
        state = self.kept.state
        size = sum(len(pickle.dumps(state.shard(shard))) for shard in range(SHARDS))
        state.settle()
        return size


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds that `work` takes, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def measure(name: str, keys: int, scale: float, *, per_key: bool) -> dict[str, Any]:
    """Return the figures of one operator at so many keys."""
    case = CASES[name]
    rate = case.rate * (keys / 1_000_000 if per_key else 1)
    events = max(int(case.events * scale), 10 * BATCH)
    spent = 0.0
    groups = (
        Partition(partial(PAYMENTS.features.make, BOUND))
        if case.windows is None
        else Groups(case.windows)
    )
    for batch in batches(keys, events, rate):
        spent += timed(partial(groups.feed, [batch]))[0]
    row: dict[str, Any] = {
        "operator": name, "keys": keys, "events": events, "per_cpu_s": events / spent,
    }  # fmt: skip
    seconds, size = timed(groups.whole)
    row |= {"emitted": groups.emitted, "all_s": seconds, "all_mb": size / 1e6}
    # Epochs in which 1,000 records come; the first one still hands on what was held before.
    spent, total = 0.0, 0
    for epoch in range(EPOCHS + 1):
        for batch in batches(keys, 1_000, rate, events + 1_000 * epoch):
            groups.feed([batch])
        seconds, size = timed(groups.snapshot)
        if epoch:
            spent, total = spent + seconds, total + size
    return row | {"epoch_s": spent / EPOCHS, "epoch_mb": total / EPOCHS / 1e6}


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``windows``."""
    parser = subparsers.add_parser(
        "windows", help="windows and features by live keys", description=__doc__
    )
    parser.add_argument(
        "--keys", type=int, nargs="+", default=[1_000, 20_000, 200_000, 1_000_000], metavar="N"
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--per-key", action="store_true", help="as many records per key at any number of keys"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of events")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure; print a line per operator and number of keys, or a JSON list."""
    found = []
    for name in args.only:
        for keys in args.keys:
            row = measure(name, keys, args.scale, per_key=args.per_key)
            found.append(row)
            if not args.json:
                print(
                    f"{name:13} {keys:9,} keys {row['per_cpu_s']:12,.0f} events/CPU-s  "
                    f"snapshot of all {row['all_mb']:6.1f} MB in {row['all_s']:5.2f} s, "
                    f"with 1,000 records an epoch {row['epoch_mb']:6.2f} MB in "
                    f"{row['epoch_s'] * 1000:4.0f} ms; {row['emitted']:,} rows",
                    flush=True,
                )
    if args.json:
        print(json.dumps(found, indent=2))
