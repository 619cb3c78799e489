"""The flow without an engine.

Epochs, exchange between workers and crashes are played in memory; what reads, judges, keeps and
commits are the classes that the real flow is made of. Tables keep what they have.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from operators.columns.hashing import key_groups
from operators.connectors.kafka.reached import Closed, reached
from operators.event_time.frontier import Frontier, Tracker
from operators.event_time.watermarks import Idleness
from operators.records.batches import END_OF_INPUT, Progress
from operators.records.tables import COORDINATES, TIME, Table
from operators.windows import KEY_HASH, Aggregate, OpenWindows, Windows, tumbling
from tests.operators.durable import Durable, End
from tests.operators.expected import BOUND, SECOND, Record

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
        # What a store had at the end of each epoch, before the first one nothing.
        self.cards = [Durable(lambda: PAYMENTS.features.make(BOUND)) for _ in streams]
        self.stores = [self._store()]
        # Whether all tables have the epochs that any of them has.
        self.whole = True
        self.starts = self.losses = 0
        # How many records the topic has by now, and a clock in s.
        self.written, self.now = [0] * self.n, 0.0
        self.start(workers)

    def start(self, workers: int) -> None:
        """Start with what is durable, at first and after a crash."""
        state = self.durable or {
            "offsets": [0] * self.n, "groups": [None] * GROUPS, "heard": [self.now] * self.n,
            "tables": dict.fromkeys(self.tables), "closed": [None] * self.n,
        }  # fmt: skip
        self.workers = workers
        self.starts += 1
        self.at = list(state["offsets"])
        held = [table.frontier for table in self.tables.values()]
        there = reached(held, TOPIC, range(self.n))
        self.closed = [Closed(each, there[p]) for p, each in enumerate(state["closed"])]
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

    def _store(self) -> tuple[Any, list[tuple[Any, dict[int, Any]]]]:
        return self.durable, [(each.head, dict(each.entries)) for each in self.cards]

    def lose(self, store: int, workers: int) -> None:
        """Start with the store of an earlier epoch, or as 0 without any.

        Not behind a crash within an epoch's commits: what was late in that one, as its partition
        had slept, was told by a watermark that no table has.
        """
        assert self.whole, "some tables lack an epoch"
        del self.stores[store % len(self.stores) + 1 :]
        self.durable, found = self.stores[-1]
        for cards, (head, entries) in zip(self.cards, found, strict=True):
            cards.head, cards.entries = head, dict(entries)
        self.losses += 1
        self.start(workers)

    def read(self, partition: int, size: int, *, end: bool = False) -> None:
        start, closed = self.at[partition], self.closed[partition]
        if closed.until is not None and start > closed.until:
            closed.pass_on(start)
        last = len(self.records[partition]) if closed.until is None else closed.until + 1
        self.at[partition] = min(start + size, last)
        closed.spoke()
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
            TOPIC, partition, self.n, self.at[partition] - 1, mark, caught_up=caught_up,
            closed=closed.now,
        )  # fmt: skip
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
            "closed": [closed.snapshot() for closed in self.closed],
        }
        # After all commits as well: before the recovery store knows of them.
        states = {name: self.writers[name].commit() for name in order[:crash]}
        self.whole = len(states) in (0, len(order)) if crash != 0 else self.whole
        if crash is not None:
            self.start(workers)
            return
        for cards in self.cards:
            cards.end(End())
        self.durable = {**made, "tables": states}
        self.stores.append(self._store())
        self.announced = [False] * self.n

    def finish(self) -> None:
        # Behind what the tables have reached another epoch begins.
        while self.at != [len(records) for records in self.records]:
            for partition in range(self.n):
                self.read(partition, len(self.records[partition]))
            self.end_epoch(list(self.tables))
        for partition in range(self.n):
            self.read(partition, len(self.records[partition]), end=True)
        self.end_epoch(list(self.tables))
