"""Events: persons, auctions and bids in the proportion 1 : 3 : 46, made by columns.

The mix, the skew (hot auctions, sellers and bidders) and the prices follow the published
description of Apache Beam's generator (NexmarkConfiguration, GeneratorConfig); the code and the
random numbers are our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.event_time.watermarks import PartitionWatermark
from operators.records.batches import END_OF_INPUT, Batch, Progress
from operators.records.tables import TIME

TOPIC: Final = "nexmark"
START: Final = 1_436_918_400_000_000
"""2015-07-15 UTC, as in Beam's generator."""

PERSONS, AUCTIONS, BIDS, ALL = 1, 3, 46, 50
FIRST_ID: Final = 1_000
ACTIVE_PEOPLE: Final = 1_000
IN_FLIGHT_AUCTIONS: Final = 100
HOT_SPAN: Final = 100

Kind = pl.Enum(["person", "auction", "bid"])


@dataclass(frozen=True)
class Params:
    """What the events depend on: equal parameters give equal events.

    `rate` is events per second of event time; an event arrives up to `disorder` µs late.
    """

    events: int = 1_000_000
    rate: int = 10_000
    disorder: int = 1_000_000
    partitions: int = 4
    seed: int = 0


def events(params: Params) -> pl.DataFrame:
    """Return all events in order of arrival, with their partition and offset.

    Columns: kind, event_time; of a person: id, name; of an auction: id, seller; of a bid:
    auction, bidder, price (Int64, cents).
    """
    rng = np.random.default_rng(params.seed)
    number = np.arange(params.events, dtype=np.int64)
    epoch, place = number // ALL, number % ALL
    kind = np.where(place < PERSONS, 0, np.where(place < PERSONS + AUCTIONS, 1, 2))
    people = epoch + 1
    auctions = np.maximum(epoch * AUCTIONS + np.clip(place - PERSONS + 1, 0, AUCTIONS), 1)
    n = params.events

    def draw(of: Int64s, span: int, hot_share: float, hot_offset: int) -> Int64s:
        """Return ids below `of`: hot ones with a probability, else of the newest `span`."""
        recent = of - 1 - rng.integers(0, np.minimum(of, span))
        hot = np.minimum((of - 1) // HOT_SPAN * HOT_SPAN + hot_offset, of - 1)
        return FIRST_ID + np.where(rng.random(n) < hot_share, hot, recent)

    bid, auction, person = kind == 2, kind == 1, kind == 0
    seller = draw(people, ACTIVE_PEOPLE, 3 / 4, 0)
    bidder = draw(people, ACTIVE_PEOPLE, 3 / 4, 1)
    bought = draw(auctions, IN_FLIGHT_AUCTIONS, 1 / 2, 0)
    price = np.rint(10 ** (rng.random(n) * 6) * 100).astype(np.int64)
    ids = FIRST_ID + np.where(person, people - 1, auctions - 1)
    time = START + number * 1_000_000 // params.rate
    frame = pl.DataFrame(
        {
            "kind": pl.Series(kind).replace_strict(
                [0, 1, 2], Kind.categories, return_dtype=Kind
            ),
            "event_time": pl.Series(time).cast(TIME),
            "id": _where(ids, ~bid),
            "seller": _where(seller, auction),
            "auction": _where(bought, bid),
            "bidder": _where(bidder, bid),
            "price": _where(price, bid),
        }
    ).with_columns(
        pl.when(pl.col("kind") == "person").then(pl.format("person {}", "id")).alias("name")
    )
    arrival = np.argsort(time + rng.integers(0, params.disorder + 1, n), kind="stable")
    partition = rng.integers(0, params.partitions, n).astype(np.int32)
    return frame[arrival].with_columns(
        pl.lit(TOPIC).alias("source_topic"),
        pl.Series("source_partition", partition),
        pl.int_range(pl.len()).over(pl.Series(partition)).cast(pl.Int64).alias("source_offset"),
    )


def _where(values: Int64s, mask: Bools) -> pl.Series:
    return pl.Series(values).set(pl.Series(~mask), None)


def activations(frame: pl.DataFrame, params: Params, size: int) -> Iterator[list[Batch]]:
    """Yield the events as a worker would get them: every partition's share of `size` records.

    The last one ends the input.
    """
    marks = [PartitionWatermark(params.disorder) for _ in range(params.partitions)]
    for start in range(0, frame.height, size):
        part = frame.slice(start, size)
        yield [
            _batch(part.filter(pl.col("source_partition") == p), p, mark, params)
            for p, mark in enumerate(marks)
        ]
    done = (
        Progress(TOPIC, p, params.partitions).at(END_OF_INPUT) for p in range(params.partitions)
    )
    empty = frame.head(0).with_columns(pl.lit(None, TIME).alias("watermark"))
    yield [Batch(progress, empty) for progress in done]


def _batch(
    rows: pl.DataFrame, partition: int, mark: PartitionWatermark, params: Params
) -> Batch:
    before: Any = mark.advance(rows["event_time"].to_physical().to_numpy())
    progress = Progress(TOPIC, partition, params.partitions, watermark=mark.current)
    return Batch(progress, rows.with_columns(pl.Series("watermark", before).cast(TIME)))
