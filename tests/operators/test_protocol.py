"""The protocol without an engine: epochs, replays, crashes between commits, late deliveries.

A flow in memory drives the classes that the real one is made of. Batches are cut anywhere, what
goes to a key group arrives whenever it likes within the epoch, a crash comes between any two
commits, and tables keep what they have. At the end they hold what a loop over the records makes.
"""

from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np
import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from operators.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.features import SCHEMA, CardFeatures
from operators.hashing import key_groups
from operators.tables import COORDINATES, TIME, Frontier, Table, Tracker
from operators.windows import HASH, Aggregate, OpenWindows, Windows, tumbling

MINUTE = 60_000_000
BOUND, LATENESS, GROUPS = 30_000_000, 20_000_000, 3
TOPIC = "t"

WINDOWS = Windows(
    by=("terminal_id",),
    window=tumbling("1m"),
    lateness=LATENESS,
    aggregates={
        "payments": Aggregate("count"),
        "total": Aggregate("sum", "amount_minor"),
        "largest": Aggregate("max", "amount_minor"),
        "cards": Aggregate("distinct", "card_id"),
    },
)
SILVER = Table("silver", {**COORDINATES, "event_time": TIME, "watermark": TIME, **SCHEMA})
LATE = Table("late", {**COORDINATES, "window_start": TIME})
PANES = Table("panes", {}, fenced="by window")
TABLES = (SILVER, LATE, PANES)

records = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.integers(0, 4), st.integers(1, 99)),
    min_size=4, max_size=25,
)  # fmt: skip
"""Seconds of event time, card, terminal, amount."""


def frame_of(partition: int, rows: list[tuple[int, int, int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source_topic": pl.Series([TOPIC] * len(rows), dtype=pl.String()),
            "source_partition": pl.Series([partition] * len(rows), dtype=pl.Int32()),
            "source_offset": pl.Series(range(len(rows)), dtype=pl.Int64()),
            "event_time": pl.Series([r[0] * 1_000_000 for r in rows], dtype=pl.Int64()).cast(
                TIME
            ),
            "card_id": pl.Series([f"c{r[1]}" for r in rows], dtype=pl.String()),
            "terminal_id": pl.Series([f"t{r[2]}" for r in rows], dtype=pl.String()),
            "amount_minor": pl.Series([r[3] for r in rows], dtype=pl.Int64()),
            "latitude": pl.Series([None] * len(rows), dtype=pl.Float64()),
            "longitude": pl.Series([None] * len(rows), dtype=pl.Float64()),
        }
    )


class MemoryTable:
    """Commits rows and frontier together, and nothing else."""

    def __init__(self, table: Table) -> None:
        self.table, self.rows, self.frontier = table, [], Frontier()

    def writer(self, partitions: int, state: dict[str, Any] | None) -> "Writer":
        return Writer(self, partitions, state)

    def all(self) -> pl.DataFrame | None:
        return pl.concat(self.rows) if self.rows else None


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
        rows = self.frontier.beyond(self.table.table, rows)
        if rows.height:
            self.buffer.append(rows)

    def commit(self) -> dict[str, Any]:
        if self.buffer:
            self.frontier = self.frontier.joined(self.tracker.frontier)
            self.table.rows += self.buffer
            self.table.frontier = self.frontier
            self.buffer = []
        return self.tracker.flow.freeze()


class Protocol(RuleBasedStateMachine):
    idles = False

    @initialize(streams=st.lists(records, min_size=1, max_size=3))
    def begin(self, streams):
        if self.idles:
            # One behind the other, so that who sleeps is left behind.
            streams = [
                [(s + 300 * p, *rest) for s, *rest in rows] for p, rows in enumerate(streams)
            ]
        self.streams = [frame_of(p, rows) for p, rows in enumerate(streams)]
        self.n = len(self.streams)
        self.tables = {table.name: MemoryTable(table) for table in TABLES}
        self.durable: dict[str, Any] | None = None
        self.crashes = 0
        self.resume()

    def resume(self) -> None:
        state = self.durable or {
            "offsets": [0] * self.n, "cards": [None] * self.n, "groups": [None] * GROUPS,
            "tables": dict.fromkeys(self.tables),
        }  # fmt: skip
        self.at = list(state["offsets"])
        self.cards = [
            CardFeatures.load(BOUND, s) if s else CardFeatures(BOUND) for s in state["cards"]
        ]
        self.groups = [
            OpenWindows.load(WINDOWS, s) if s else OpenWindows(WINDOWS) for s in state["groups"]
        ]
        self.writers = {n: t.writer(self.n, state["tables"][n]) for n, t in self.tables.items()}
        # What is on its way: from each partition to each key group, in order.
        self.wires = {(p, g): deque() for p in range(self.n) for g in range(GROUPS)}
        self.announced = [False] * self.n
        self.asleep = [False] * self.n

    # --- what happens -----------------------------------------------------------------

    @rule(data=st.data(), size=st.integers(0, 9))
    def read(self, data, size):
        partition = data.draw(st.integers(0, self.n - 1))
        self.batch(partition, size)

    @precondition(lambda self: self.idles)
    @rule(data=st.data())
    def fall_asleep(self, data):
        partition = data.draw(st.integers(0, self.n - 1))
        self.asleep[partition] = True
        self.batch(partition, 0)

    @rule(data=st.data())
    def deliver(self, data):
        waiting = sorted(place for place, wire in self.wires.items() if wire)
        if waiting:
            self.hand_over(data.draw(st.sampled_from(waiting)))

    @rule(
        order=st.permutations([t.name for t in TABLES]),
        crash=st.sampled_from([None, None, None, 0, 1, 2, 3]),
    )
    def end_epoch(self, order, crash):
        self.close_epoch(order, crash)

    @precondition(lambda self: self.crashes < 5)
    @rule()
    def crash(self):
        self.crashes += 1
        self.resume()

    # --- the flow ---------------------------------------------------------------------

    def batch(self, partition: int, size: int, *, end: bool = False) -> None:
        start = self.at[partition]
        frame = self.streams[partition].slice(start, size)
        self.at[partition] += frame.height
        self.announced[partition] = True
        if frame.height:
            self.asleep[partition] = False
        done = self.cards[partition].advance(frame)
        mark = END_OF_INPUT if end else self.cards[partition].watermark.current
        progress = Progress(
            TOPIC, partition, self.n, self.at[partition] - 1, mark, self.asleep[partition]
        )
        self.writers["silver"].rows(done.select(*SILVER.columns))
        judged = WINDOWS.judge(done)
        if judged.late is not None:
            self.late(judged.late)
        groups = key_groups(judged.rows[HASH].to_numpy(), GROUPS)
        for group in range(GROUPS):
            rows = judged.rows.filter(pl.Series(groups == group))
            self.wires[partition, group].append((progress, rows if rows.height else None))
        for writer in self.writers.values():
            writer.tracker.observe(progress)

    def late(self, rows: pl.DataFrame) -> None:
        self.writers["late"].rows(
            rows.with_columns(pl.col("window_start").cast(TIME)).select(*LATE.columns)
        )

    def hand_over(self, place: tuple[int, int]) -> None:
        progress, rows = self.wires[place].popleft()
        closed = self.groups[place[1]].advance([progress], rows)
        if closed.panes is not None:
            self.writers["panes"].rows(self.due(closed.panes))
        if closed.late is not None:
            self.late(closed.late)

    @staticmethod
    def due(panes: pl.DataFrame) -> pl.DataFrame:
        """As the table is fenced by the time at which a pane is due."""
        step = pl.when(pl.col("revision") > 0).then(LATENESS).otherwise(0)
        return panes.with_columns(
            (pl.col("window_end") + pl.duration(microseconds=step)).alias("window_end"),
            pl.col("window_end").alias("end"),
        )

    def close_epoch(self, order: list[str], crash: int | None) -> None:
        for partition in range(self.n):
            if not self.announced[partition]:
                self.batch(partition, 0)
        for place in self.wires:
            while self.wires[place]:
                self.hand_over(place)
        made = {
            "offsets": list(self.at),
            "cards": [cards.dump() for cards in self.cards],
            "groups": [group.dump() for group in self.groups],
            "tables": {},
        }
        for done, name in enumerate(order):
            if crash == done:
                break
            made["tables"][name] = self.writers[name].commit()
        if crash is not None and self.crashes < 5:
            # After all commits as well: before the recovery store knows of them.
            self.crashes += 1
            self.resume()
            return
        for name in order:
            made["tables"].setdefault(name, self.writers[name].commit())
        self.durable = made
        self.announced = [False] * self.n

    # --- what must hold ---------------------------------------------------------------

    def teardown(self):
        if not hasattr(self, "streams"):
            return
        for partition in range(self.n):
            self.batch(partition, 1_000, end=True)
        self.close_epoch([t.name for t in TABLES], None)
        self.check()

    def check(self) -> None:
        silver, late = self.tables["silver"].all(), self.tables["late"].all()
        total = sum(frame.height for frame in self.streams)
        assert (silver.height if silver is not None else 0) == total
        if total == 0:
            return
        place = ["source_partition", "source_offset"]
        whole = pl.concat(
            CardFeatures(BOUND).advance(frame).select(*SILVER.columns)
            for frame in self.streams if frame.height
        )  # fmt: skip
        assert silver.sort(place).equals(whole.sort(place))
        told = Counter(late.select(*place).rows()) if late is not None else Counter()
        assert max(told.values(), default=1) == 1
        expected_late, windows = self.model(told)
        if not self.idles:
            assert set(told) == expected_late
        else:
            assert expected_late <= set(told)
        panes = self.tables["panes"].all()
        found = {}
        revisions = Counter()
        if panes is not None:
            for row in panes.sort("revision").iter_rows(named=True):
                key = row["terminal_id"], row["window_start"].timestamp()
                revisions[(*key, row["revision"])] += 1
                found[key] = row["payments"], row["total"], row["largest"], row["cards"]
        assert max(revisions.values(), default=1) == 1
        assert found == windows

    def model(
        self, told: Counter[tuple[int, int]]
    ) -> tuple[set[tuple[int, int]], dict[Any, Any]]:
        """Return who is late, and the windows of all who were not told to be."""
        late, windows = set(), defaultdict(list)
        for partition, frame in enumerate(self.streams):
            largest = NO_WATERMARK
            for offset, row in enumerate(frame.iter_rows(named=True)):
                time = int(np.int64(frame["event_time"].to_physical()[offset]))
                start = time - time % MINUTE
                mark = largest if largest == NO_WATERMARK else largest - BOUND
                if start + MINUTE + LATENESS <= mark:
                    late.add((partition, offset))
                largest = max(largest, time)
                if (partition, offset) not in told:
                    windows[row["terminal_id"], start / 1e6].append(
                        (row["amount_minor"], row["card_id"])
                    )
        return late, {
            key: (len(v), sum(a for a, _ in v), max(a for a, _ in v), len({c for _, c in v}))
            for key, v in windows.items()
        }


class IdleProtocol(Protocol):
    """With partitions that fall asleep: a record is in its window or told as late, once."""

    idles = True


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestIdleProtocol = IdleProtocol.TestCase
TestIdleProtocol.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
