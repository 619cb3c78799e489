"""Queries 5, 7, 8, 11 and 12 on Millstream's operators.

Query 12 counts by processing time in the original; here by event time, so that it has one
answer.
"""

from typing import Final, Protocol

import polars as pl

from benchmarks.nexmark.events import TOPIC
from benchmarks.nexmark.stages import JoinStage, WindowStage
from operators.joins import IntervalJoin
from operators.records.batches import Batch, Progress, merge
from operators.records.tables import TIME
from operators.state.event_time_buffer import Side
from operators.windows import Windows, agg, session, sliding, tumbling

SECOND: Final = 1_000_000
SIZE: Final = 10 * SECOND
_INT: Final = pl.Int64()
_AT: Final = pl.col("window_end") - pl.duration(microseconds=1)


class Query(Protocol):
    """A query: activations in, results out when the watermark passes."""

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Take an activation."""


def _of(batches: list[Batch], kind: str, *columns: str) -> tuple[list[Progress], pl.DataFrame]:
    rows = merge(batches).filter(pl.col("kind") == kind)
    coordinates = ("source_partition", "source_offset", "event_time", "watermark")
    return [batch.progress for batch in batches], rows.select(*columns, *coordinates)


def _results(panes: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return panes as the rows of another stage, at the last µs of their window."""
    return None if panes is None else panes.with_columns(_AT.alias("event_time"))


class Q5:
    """Hot items: the auctions with the most bids in the last 10 s, every 2 s."""

    def __init__(self, partitions: int) -> None:
        every = sliding("10s", every="2s")
        self._counts = WindowStage(Windows(("auction",), every, {"bids": agg.count()}))
        # A result's window is known by its last µs: those of one window fall together.
        most = {"most": agg.max("bids")}
        self._most = WindowStage(Windows(("ends",), tumbling("2s"), most))
        types = {"auction": _INT, "bids": _INT, "most": _INT, "ends": _INT, "window_end": TIME}
        columns = {name: name for name in ("auction", "bids", "window_end")}
        join = IntervalJoin(
            Side(TOPIC, ("ends", "bids"), columns, types),
            Side(TOPIC, ("ends", "most"), {"most": "most"}, types),
            lower=-2 * SECOND,
            upper=2 * SECOND,
        )
        self._join = JoinStage(join, {TOPIC: partitions})

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Return auction, bids and window_end."""
        progress, bids = _of(batches, "bid", "auction")
        counts = _results(self._counts.advance(progress, bids))
        if counts is not None:
            counts = counts.with_columns(pl.col("window_end").to_physical().alias("ends"))
        most = _results(self._most.advance(progress, counts))
        found = self._join.advance(progress, counts, most)
        return None if found is None else found.select("auction", "bids", "window_end")


class Q7:
    """Highest bid: the bids with the highest price of each 10 s."""

    def __init__(self, partitions: int) -> None:
        highest = {"highest": agg.max("price")}
        self._highest = WindowStage(Windows(("all",), tumbling("10s"), highest))
        types = dict.fromkeys(("auction", "bidder", "price", "highest", "window"), _INT)
        columns = {name: name for name in ("auction", "bidder", "price", "event_time")}
        join = IntervalJoin(
            Side(TOPIC, ("price", "window"), columns, {**types, "event_time": TIME}),
            Side(TOPIC, ("highest", "window"), {"window": "window"}, types),
            lower=0,
            upper=SIZE - 1,
        )
        self._join = JoinStage(join, {TOPIC: partitions})

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Return auction, bidder, price and event_time."""
        progress, bids = _of(batches, "bid", "auction", "bidder", "price")
        time = pl.col("event_time").to_physical()
        bids = bids.with_columns((time - time % SIZE).alias("window"), all=pl.lit(0))
        highest = _results(self._highest.advance(progress, bids))
        if highest is not None:
            start = pl.col("window_start").to_physical().alias("window")
            highest = highest.with_columns(start)
        found = self._join.advance(progress, bids, highest)
        columns = ("auction", "bidder", "price", "event_time")
        return None if found is None else found.select(*columns)


class Q8:
    """New users: persons that opened an auction in the 10 s in which they came."""

    def __init__(self, partitions: int) -> None:
        sold = {"auctions": agg.count()}
        self._sellers = WindowStage(Windows(("seller",), tumbling("10s"), sold))
        types = {"id": _INT, "seller": _INT, "window": _INT, "name": pl.String()}
        join = IntervalJoin(
            Side(
                TOPIC, ("id", "window"), {"id": "id", "name": "name", "window": "window"}, types
            ),
            Side(TOPIC, ("seller", "window"), {"seller": "seller"}, types),
            lower=0,
            upper=SIZE - 1,
        )
        self._join = JoinStage(join, {TOPIC: partitions})

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Return id, name and window (its start, µs)."""
        progress, persons = _of(batches, "person", "id", "name")
        _, auctions = _of(batches, "auction", "seller")
        sellers = _results(self._sellers.advance(progress, auctions))
        time = pl.col("event_time").to_physical()
        persons = persons.with_columns((time - time % SIZE).alias("window"))
        if sellers is not None:
            start = pl.col("window_start").to_physical().alias("window")
            sellers = sellers.with_columns(start)
        found = self._join.advance(progress, persons, sellers)
        return None if found is None else found.select("id", "name", "window")


class Q11:
    """User sessions: how many bids each bidder makes in a session of 10 s gap."""

    def __init__(self, partitions: int) -> None:
        bids = {"bids": agg.count()}
        self._sessions = WindowStage(Windows(("bidder",), session("10s"), bids))

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Return bidder, window_start, window_end and bids."""
        found = self._sessions.advance(*_of(batches, "bid", "bidder"))
        columns = ("bidder", "window_start", "window_end", "bids")
        return None if found is None else found.select(*columns)


class Q12:
    """Windows: how many bids each bidder makes in 10 s."""

    def __init__(self, partitions: int) -> None:
        bids = {"bids": agg.count()}
        self._windows = WindowStage(Windows(("bidder",), tumbling("10s"), bids))

    def advance(self, batches: list[Batch]) -> pl.DataFrame | None:
        """Return bidder, window_start, window_end and bids."""
        found = self._windows.advance(*_of(batches, "bid", "bidder"))
        columns = ("bidder", "window_start", "window_end", "bids")
        return None if found is None else found.select(*columns)


QUERIES: Final[dict[str, type[Q5] | type[Q7] | type[Q8] | type[Q11] | type[Q12]]] = {
    "q5": Q5, "q7": Q7, "q8": Q8, "q11": Q11, "q12": Q12
}  # fmt: skip
