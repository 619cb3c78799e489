"""Raw records as table rows: all of them as ingested, and the refused ones with the reason."""

from collections.abc import Sequence
from itertools import chain
from typing import Final, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from operators.columns.arrays import Bools, Int64s
from operators.columns.frames import stacked
from operators.records.batches import Headers, Progress, RawBatch
from operators.records.columns import HEADERS, REJECT_COLUMNS
from operators.records.rejects import Refusal
from operators.records.tables import TIME

_Any = TypeVar("_Any")
# Runs of fewer records on average are not worth a slice each.
_LONG: Final = 8
_LATEST_MS: Final = 253_402_300_799_999  # 9999-12-31, the last day that Python knows


def as_consumed(progress: Progress, rows: pl.DataFrame) -> RawBatch:
    """Return a partition's rows of `RAW_COLUMNS` as the records that they were made of."""
    headers: Sequence[Headers | None] = [None] * rows.height
    if rows["headers"].null_count() < rows.height:
        headers = [
            None if each is None else [(pair["key"], pair["value"]) for pair in each]
            for each in rows["headers"].to_list()
        ]
    return RawBatch.of(
        progress,
        rows["source_offset"].to_numpy(),
        (rows["kafka_timestamp"].dt.epoch("ms").fill_null(-1)).to_numpy(),
        rows[["key", "value"]],
        headers,
    )


def coordinates(raws: Sequence[RawBatch]) -> list[pl.Series]:
    """Return the columns of `COORDINATES` and `kafka_timestamp`, null where it is no time.

    For all the batches' records, which are of one topic.
    """
    sizes = [len(raw) for raw in raws]
    topic = pl.Series("source_topic", [raws[0].progress.topic])
    partitions = np.array([raw.progress.partition for raw in raws], np.int32)
    return [
        topic.new_from_index(0, sum(sizes)),
        pl.Series("source_partition", np.repeat(partitions, sizes)),
        pl.Series("source_offset", np.concatenate([raw.offsets for raw in raws])),
        _times(np.concatenate([raw.timestamps for raw in raws])),
    ]


def known_times(milliseconds: Int64s) -> Bools:
    """Return which of Kafka's timestamps, in ms, are times of a calendar."""
    # A producer may send any 64-bit number, and Delta panics on some.
    return (milliseconds >= 0) & (milliseconds <= _LATEST_MS)


def _times(milliseconds: Int64s) -> pl.Series:
    known = known_times(milliseconds)
    micros = pl.Series("kafka_timestamp", np.where(known, milliseconds, 0) * 1000)
    if not known.all():
        micros = micros.set(pl.Series(~known), None)
    return micros.cast(TIME)


def _headers(headers: Sequence[Headers | None]) -> pl.Series:
    if headers.count(None) == len(headers):
        return pl.Series("headers", [None] * len(headers), dtype=HEADERS)
    # Through Arrow's layout, so that only the headers themselves are looped over.
    there = [row for row, each in enumerate(headers) if each is not None]
    found = [headers[row] or () for row in there]
    flat = [pair for each in found for pair in each]
    sizes = np.zeros(len(headers), np.int64)
    sizes[there] = [len(each) for each in found]
    missing = np.ones(len(headers), np.bool_)
    missing[there] = False
    entries = pa.StructArray.from_arrays(
        [
            pa.array([key for key, _ in flat], pa.large_string()),
            pa.array([value for _, value in flat], pa.large_binary()),
        ],
        ["key", "value"],
    )
    # Made by Polars: to free NumPy's memory Arrow would take the interpreter's lock.
    offsets = pl.Series([0]).append(pl.Series(sizes).cum_sum()).to_arrow()
    lists = pa.LargeListArray.from_arrays(offsets, entries, mask=pa.array(missing))
    return pl.Series("headers", pl.from_arrow(lists), dtype=HEADERS)


def ingested(raws: Sequence[RawBatch]) -> pl.DataFrame:
    """Return a row per record of the batches, which are of one topic, with `RAW_COLUMNS`."""
    return pl.DataFrame(
        [
            *coordinates(raws),
            *stacked(raw.columns for raw in raws),
            _headers(list(chain.from_iterable(raw.headers for raw in raws))),
        ]
    )


def refused(raws: Sequence[RawBatch], refusals: Sequence[Refusal]) -> pl.DataFrame:
    """Return a row per refusal, with `REJECT_COLUMNS`.

    Refusals ascend by row, which counts through all the batches' records.
    """
    rows = np.array([refusal.row for refusal in refusals], np.int64)
    ends = np.cumsum([len(raw) for raw in raws])
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - [len(raw) for raw in raws]
    some = [picked(raw, at - start) for raw, at, start in zip(raws, parts, starts, strict=True)]
    why = [
        pl.Series(name, [getattr(refusal, name) for refusal in refusals], dtype=pl.String())
        for name in ("stage", "code", "message", "schema_id")
    ]
    return ingested(some).hstack(why)[list(REJECT_COLUMNS)]


def picked(raw: RawBatch, rows: Int64s) -> RawBatch:
    """Return some of a batch's records, by their rows, ascending, with all of its progress."""
    gaps = np.flatnonzero(np.diff(rows) != 1) + 1
    if len(rows) and len(gaps) * _LONG < len(rows):
        # As where one in a hundred is refused: runs are copied at once.
        firsts, lasts = rows[[0, *gaps]], rows[[*(gaps - 1), -1]]
        runs = list(map(slice, firsts.tolist(), (lasts + 1).tolist()))

        def some(column: Sequence[_Any]) -> list[_Any]:
            return list(chain.from_iterable(map(column.__getitem__, runs)))
    else:
        # A third of the time that it takes by NumPy's numbers.
        places = rows.tolist()

        def some(column: Sequence[_Any]) -> list[_Any]:
            return list(map(column.__getitem__, places))

    parts = some(raw.keys), some(raw.values), some(raw.headers)
    return RawBatch(raw.progress, raw.offsets[rows], raw.timestamps[rows], *parts)
