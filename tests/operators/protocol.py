"""The flow without an engine, and a loop over the records that says what must come of it.

Epochs, exchange between workers and crashes are played in memory; what reads, judges, keeps and
commits are the classes that the real flow is made of. Tables keep what they have.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from operators.columns.hashing import key_groups
from operators.event_time.frontier import Frontier, Tracker
from operators.event_time.watermarks import Idleness
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.records.tables import COORDINATES, TIME, Table
from operators.windows import KEY_HASH, Aggregate, OpenWindows, Windows, tumbling
from tests.operators.durable import Durable, End

SECOND = 1_000_000
MINUTE, BOUND = 60 * SECOND, 20 * SECOND
GROUPS, TOPIC = 2, "t"

AGGREGATES = {
    "payments": Aggregate("count"),
    "total": Aggregate("sum", "amount_minor"),
    "largest": Aggregate("max", "amount_minor"),
    "cards": Aggregate("distinct", "card_id"),
}
WINDOWS = {
    seconds: Windows(("terminal_id",), tumbling("1m"), AGGREGATES, lateness=seconds * SECOND)
    for seconds in (0, 15)
}
"""By allowed lateness: without one there are no revisions, and all is cheaper."""

SILVER = Table(
    "silver",
    {**COORDINATES, "event_time": TIME, "watermark": TIME, **PAYMENTS.features.columns},
)
LATE = Table("late", {**COORDINATES, "window_start": TIME})
PANES = Table("panes", {}, fenced="by window", closes="closes")
TABLES = (SILVER, LATE, PANES)

PAST = (
    "card_count_10m", "card_amount_minor_10m", "card_payments_before", "card_amount_minor_mean",
)  # fmt: skip

Record = tuple[int, int, int, int] | None
"""Seconds of event time, card, terminal, amount; None is refused before it gets so far."""

IDLE_AFTER = 10.0


def frame_of(partition: int, records: Sequence[Record]) -> pl.DataFrame:
    good = [record for record in records if record is not None]
    n = len(good)
    times, cards, terminals, amounts = zip(*good, strict=True) if n else ([], [], [], [])
    unknown = np.full(n, np.nan)
    return pl.DataFrame(
        [
            pl.Series("source_topic", [TOPIC] * n, pl.String()),
            pl.Series("source_partition", np.full(n, partition, np.int32)),
            pl.Series(
                "source_offset", [o for o, r in enumerate(records) if r is not None], pl.Int64()
            ),
            pl.Series("event_time", np.array(times, np.int64) * SECOND).cast(TIME),
            pl.Series("card_id", [f"c{card}" for card in cards], pl.String()),
            pl.Series("terminal_id", [f"t{terminal}" for terminal in terminals], pl.String()),
            pl.Series("amount_minor", np.array(amounts, np.int64)),
            pl.Series("latitude", unknown),
            pl.Series("longitude", unknown),
        ]
    )


class MemoryTable:
    """Commits rows and frontier together, and nothing else."""

    def __init__(self, table: Table) -> None:
        self.table, self.rows, self.frontier, self.fenced = table, [], Frontier(), 0


class Writer:
    def __init__(
        self, table: MemoryTable, partitions: int, state: dict[str, Any] | None
    ) -> None:
        self.table, self.frontier = table, table.frontier
        self.tracker = Tracker({TOPIC: partitions})
        if state is not None:
            self.tracker.resume(state)
        self.buffer: list[pl.DataFrame] = []

    def rows(self, rows: pl.DataFrame) -> None:
        new = self.frontier.beyond(self.table.table, rows)
        self.table.fenced += rows.height - new.height
        if new.height:
            self.buffer.append(new)

    def commit(self) -> dict[str, Any]:
        if self.buffer:
            self.frontier = self.frontier.joined(self.tracker.frontier)
            self.table.rows += self.buffer
            self.table.frontier = self.frontier
            self.buffer = []
        return self.tracker.flow.freeze()


class Flow:
    """Partitions of a topic, read by workers that hand rows to each other's key groups.

    Partition p and key group g are with worker p % workers and g % workers. What one worker
    sends to another arrives in order, at any time within the epoch, and what has arrived is
    taken at once.
    """

    def __init__(
        self, streams: Sequence[Sequence[Record]], workers: int, lateness: int = 15
    ) -> None:
        self.records, self.windows = streams, WINDOWS[lateness]
        self.streams = [frame_of(p, records) for p, records in enumerate(streams)]
        self.n = len(streams)
        self.tables = {table.name: MemoryTable(table) for table in TABLES}
        self.durable: dict[str, Any] | None = None
        self.cards = [Durable(lambda: PAYMENTS.features.make(BOUND)) for _ in streams]
        self.starts = 0
        # How many records the topic has by now, and a clock in s.
        self.written, self.now = [0] * self.n, 0.0
        self.start(workers)

    def start(self, workers: int) -> None:
        """Start with what is durable, at first and after a crash."""
        state = self.durable or {
            "offsets": [0] * self.n, "groups": [None] * GROUPS, "heard": [self.now] * self.n,
            "tables": dict.fromkeys(self.tables),
        }  # fmt: skip
        self.workers = workers
        self.starts += 1
        self.at = list(state["offsets"])
        for cards in self.cards:
            cards.resume()
        self.groups = [
            OpenWindows.load(self.windows, s) if s else OpenWindows(self.windows)
            for s in state["groups"]
        ]
        self.writers = {
            name: Writer(table, self.n, state["tables"][name])
            for name, table in self.tables.items()
        }
        self.wires: dict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.announced = [False] * self.n
        self.idleness = [
            Idleness(IDLE_AFTER, self.now, self.now - heard) for heard in state["heard"]
        ]

    def read(self, partition: int, size: int, *, end: bool = False) -> None:
        start = self.at[partition]
        self.at[partition] = min(start + size, len(self.records[partition]))
        offsets = pl.col("source_offset").is_between(start, self.at[partition], closed="left")
        frame = self.streams[partition].filter(offsets)
        self.write(partition, 0)
        self.announced[partition] = True
        parts: dict[int, pl.DataFrame] = {}
        self.cards[partition].begin()
        cards = self.cards[partition].state
        if frame.height:
            done = cards.advance(frame)
            self.writers["silver"].rows(done[list(SILVER.columns)])
            judged = self.windows.judge(done)
            self.late(judged.late)
            groups = key_groups(judged.rows[KEY_HASH].to_numpy(), GROUPS)
            parts = {
                g: judged.rows.filter(pl.Series(groups == g))
                for g in np.unique(groups).tolist()
            }
        mark = END_OF_INPUT if end else cards.watermark.current
        caught_up = self.at[partition] == self.written[partition]
        progress = Progress(
            TOPIC, partition, self.n, self.at[partition] - 1, mark, caught_up=caught_up
        )
        progress = self.idleness[partition].judge(progress, frame.height, self.now)
        for worker in range(self.workers):
            self.wires[partition % self.workers, worker].append((progress, parts))
        for writer in self.writers.values():
            writer.tracker.observe(progress)

    def write(self, partition: int, count: int) -> None:
        """Let the topic have more records, for later; what was read before a crash it has."""
        there = max(self.at[partition], self.written[partition] + count)
        self.written[partition] = min(there, len(self.records[partition]))

    def fall_asleep(self, partition: int) -> None:
        """Let time pass and look whether a partition is idle; others are looked at later."""
        self.now += 1.5 * IDLE_AFTER
        self.read(partition, 0)

    def late(self, rows: pl.DataFrame | None) -> None:
        if rows is not None:
            start = rows["window_start"].cast(TIME)
            self.writers["late"].rows(rows[list(COORDINATES)].hstack([start]))

    def waiting(self) -> list[tuple[int, int]]:
        """Return the (from, to) pairs of workers between which something is on its way."""
        return sorted(place for place, wire in self.wires.items() if wire)

    def arrive(self, place: tuple[int, int], count: int) -> None:
        """Let the next `count` batches arrive, in one activation of the key groups there."""
        wire = self.wires[place]
        items = [wire.popleft() for _ in range(min(count, len(wire)))]
        progress = [progress for progress, _ in items]
        for group in range(place[1], GROUPS, self.workers):
            rows = [parts[group] for _, parts in items if group in parts]
            joined = rows[0] if len(rows) == 1 else pl.concat(rows) if rows else None
            closed = self.groups[group].advance(progress, joined)
            if closed.panes is not None:
                self.writers["panes"].rows(closed.panes)
            self.late(closed.late)

    def end_epoch(
        self, order: Sequence[str], crash: int | None = None, workers: int = 1
    ) -> None:
        """Commit the tables in an order; with `crash` so many, then start anew."""
        for partition in range(self.n):
            if not self.announced[partition]:
                self.read(partition, 0)
        for place in self.waiting():
            self.arrive(place, len(self.wires[place]))
        made = {
            "offsets": list(self.at),
            "groups": [group.dump() for group in self.groups],
            "heard": [self.now - each.quiet(self.now) for each in self.idleness],
        }
        # After all commits as well: before the recovery store knows of them.
        states = {name: self.writers[name].commit() for name in order[:crash]}
        if crash is not None:
            self.start(workers)
            return
        for cards in self.cards:
            cards.end(End())
        self.durable = {**made, "tables": states}
        self.announced = [False] * self.n

    def finish(self) -> None:
        for partition in range(self.n):
            self.read(partition, len(self.records[partition]), end=True)
        self.end_epoch(list(self.tables))


def past(partition: int, records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    """Yield what silver has of each record: coordinates, watermark before it, and PAST."""
    for offset, record in enumerate(records):
        if record is None:
            continue
        seconds, card, _, amount = record
        before = [each for each in records[:offset] if each is not None]
        mine = [(s, a) for s, c, _, a in before if c == card]
        # No stream spans ten minutes; what arrived with a later time does not count.
        recent = [a for s, a in mine if s <= seconds] + [amount]
        mark = max((s for s, *_ in before), default=None)
        yield (
            partition, offset,
            None if mark is None else datetime.fromtimestamp(mark - BOUND // SECOND, UTC),
            len(recent), sum(recent), len(mine),
            sum(a for _, a in mine) / len(mine) if mine else None,
        )  # fmt: skip


def model(
    streams: Sequence[Sequence[Record]], told: Counter[tuple[int, int]], lateness: int
) -> tuple[set[tuple[int, int]], dict[Any, Any]]:
    """Return who is late, and the windows of all who were not told to be."""
    late, windows = set(), defaultdict(list)
    for partition, records in enumerate(streams):
        largest = NO_WATERMARK
        for offset, record in enumerate(records):
            if record is None:
                continue
            seconds, card, terminal, amount = record
            time = seconds * SECOND
            start = time - time % MINUTE
            if largest != NO_WATERMARK and start + MINUTE + lateness <= largest - BOUND:
                late.add((partition, offset))
            largest = max(largest, time)
            if (partition, offset) not in told:
                windows[f"t{terminal}", start / SECOND].append((amount, card))
    return late, {
        key: (len(v), sum(a for a, _ in v), max(a for a, _ in v), len({c for _, c in v}))
        for key, v in windows.items()
    }
