"""Identities: a record that a replay sends again is the one that it is sent again of.

Records of a topic are told apart by a field. Of those of one partition with the same value, one of
which was sent again, the first that is good counts, and the others are duplicates: the replay's if
the producer has sent a good one behind the reject meanwhile, the producer's if that comes later.
Records that nobody sends again are as they come, whatever they have in that field. So what is a
duplicate is a function of the partition's records, whatever is killed meanwhile.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import filtered
from operators.records.batches import Batch, RawBatch
from operators.records.columns import ORIGIN_HEADER
from operators.records.tables import COORDINATES, TIME

ORIGIN: Final = "replayed_from"
"""The column of these, null of what was not sent again."""

_KEPT: Final = 200_000


def repeated_columns(id_column: str, kind: pl.DataType) -> dict[str, pl.DataType]:
    """Return the columns of duplicates, with the coordinates of the record each repeats."""
    return {
        **COORDINATES,
        "kafka_timestamp": TIME,
        id_column: kind,
        "first_partition": pl.Int32(),
        "first_offset": pl.Int64(),
        ORIGIN: pl.String(),
    }


class Past(Protocol):
    """The good records of a topic that a table has, by their ids."""

    def again(self, partition: int) -> Mapping[Any, int]:
        """Return by id the first offset of those that were sent again."""
        ...

    def between(
        self, partition: int, ids: list[Any], after: int, before: int
    ) -> Mapping[Any, Sequence[int]]:
        """Return by id the offsets, ascending, of those with some ids between two offsets."""
        ...

    def committed(self, partition: int) -> int:
        """Return the last offset that the table accounts for."""
        ...


class NoPast:
    """Of a table that is not there."""

    def again(self, partition: int) -> Mapping[Any, int]:
        """Return none."""
        return {}

    def between(
        self, partition: int, ids: list[Any], after: int, before: int
    ) -> Mapping[Any, Sequence[int]]:
        """Return none."""
        return {}

    def committed(self, partition: int) -> int:
        """Return that it accounts for nothing."""
        return -1


class _Partition:
    """What is known of a partition: ids that were sent again, and what no table may have yet."""

    def __init__(self, again: Mapping[Any, int]) -> None:
        self.again = dict(again)
        self.recent: list[tuple[Int64s, pl.Series]] = []

    def forget(self, done: int) -> int:
        """Forget what the table has, up to an offset; return how many are left."""
        self.recent = [each for each in self.recent if each[0][-1] > done]
        return sum(len(each[0]) for each in self.recent)

    def first(self, id_: Any, after: int, before: int) -> int | None:
        """Return the first offset of an id between two, of what is kept."""
        for offsets, ids in self.recent:
            if offsets[0] < before and offsets[-1] > after:
                for row in (ids == id_).arg_true().to_list():
                    if after < offsets[row] < before:
                        return int(offsets[row])
        return None


class Identities:
    """Tells of batches which records are others again."""

    def __init__(self, id_column: str, past: Past) -> None:
        self._id, self._past = id_column, past
        self._partitions: dict[int, _Partition] = {}
        # Threads of a process share it, each with partitions of its own, and one past.
        self._lock = threading.Lock()
        self._size, self._trim_at = 0, _KEPT

    def split(self, raw: RawBatch, batch: Batch) -> tuple[Batch, pl.DataFrame | None]:
        """Return the good records of a raw batch with `ORIGIN`, and those of them that are others.

        Null is nobody's id. Raises what the past does.
        """
        origins = _origins(raw, batch)
        frame = batch.frame.hstack([origins])
        if not frame.height:
            return Batch(batch.progress, frame), None
        number = batch.progress.partition
        if number not in self._partitions:
            with self._lock:
                self._partitions[number] = _Partition(self._past.again(number))
        mine = self._partitions[number]
        again = self._again(number, mine, frame) if self._asks(mine, frame) else {}
        rows = frame
        duplicates = None
        if again:
            mask = pl.Series([n in again for n in range(frame.height)])
            rows, some = filtered(frame, ~mask), filtered(frame, mask)
            firsts = pl.Series("first_offset", [again[n] for n in sorted(again)], pl.Int64)
            partitions = some["source_partition"].cast(pl.Int32).alias("first_partition")
            some = some.hstack([partitions, firsts])
            duplicates = some[list(repeated_columns(self._id, pl.String()))]
        if rows.height:
            self._keep(mine, rows["source_offset"].to_numpy(), rows[self._id])
        return Batch(batch.progress, rows), duplicates

    def _keep(self, mine: _Partition, offsets: Int64s, ids: pl.Series) -> None:
        """Keep good records; where that is much, forget what the table has by now."""
        with self._lock:
            mine.recent.append((offsets, ids))
            self._size += len(offsets)
            if self._size < self._trim_at:
                return
            left = [
                each.forget(self._past.committed(number))
                for number, each in list(self._partitions.items())
            ]
            self._size = sum(left)
            self._trim_at = max(_KEPT, 2 * self._size)

    def _asks(self, mine: _Partition, frame: pl.DataFrame) -> bool:
        """Tell whether any record may be another: most often nothing was ever sent again."""
        if frame[ORIGIN].null_count() < frame.height:
            return True
        if not mine.again:
            return False
        known = pl.Series([*mine.again], dtype=frame.schema[self._id])
        return bool(frame[self._id].is_in(known.implode()).any())

    def _again(self, number: int, mine: _Partition, frame: pl.DataFrame) -> dict[int, int]:
        """Return by row the offset of the record that it is again."""
        ids, offsets = frame[self._id].to_list(), frame["source_offset"].to_list()
        sent = frame[ORIGIN].to_list()
        there = self._there(number, ids, offsets, sent)
        passed: dict[Any, list[int]] = {}
        found: dict[int, int] = {}
        for row, (id_, offset, origin) in enumerate(zip(ids, offsets, sent, strict=True)):
            if id_ is None:
                continue
            first = mine.again.get(id_)
            first = first if first is not None and first < offset else None
            if origin is not None:
                after = _offset_of(origin, offset)
                told = [first, there.get((id_, offset)), mine.first(id_, after, offset)]
                told += [n for n in passed.get(id_, ()) if after < n]
                first = min((n for n in told if n is not None), default=None)
            if first is not None:
                found[row] = first
                continue
            passed.setdefault(id_, []).append(offset)
            if origin is not None:
                mine.again[id_] = min(offset, mine.again.get(id_, offset))
        return found

    def _there(
        self, number: int, ids: list[Any], offsets: list[int], sent: list[str | None]
    ) -> dict[tuple[Any, int], int]:
        """Return what the table has of those that were sent again: by id and offset the first."""
        asked = [
            (id_, _offset_of(origin, offset), offset)
            for id_, offset, origin in zip(ids, offsets, sent, strict=True)
            if origin is not None and id_ is not None
        ]
        if not asked:
            return {}
        # One question for all, as each is a query of the table.
        ids_, after_, before_ = zip(*asked, strict=True)
        with self._lock:
            some = self._past.between(number, list({*ids_}), min(after_), max(before_))
        found: dict[tuple[Any, int], int] = {}
        for id_, after, before in asked:
            first = next((each for each in some.get(id_, ()) if after < each < before), None)
            if first is not None:
                found[id_, before] = first
        return found


def _offset_of(origin: str, offset: int) -> int:
    """Return the offset of the reject that a record is sent again of, -1 if it is of elsewhere."""
    text = origin.rpartition("/")[2]
    number = int(text) if text.isdecimal() and len(text) <= 19 else -1
    # Of a topic that was made anew.
    return number if number < offset else -1


def _origins(raw: RawBatch, batch: Batch) -> pl.Series:
    """Return of each good record the reject that it is sent again of, the first of several."""
    places = {
        int(raw.offsets[row]): value
        for row, headers in enumerate(raw.headers)
        if headers
        for value in [_origin(headers)]
        if value is not None
    }
    if not places:
        return pl.Series(ORIGIN, [None], pl.String).new_from_index(0, len(batch))
    found = [places.get(each) for each in batch.frame["source_offset"].to_list()]
    return pl.Series(ORIGIN, found, pl.String)


def _origin(headers: Any) -> str | None:
    for name, value in headers:
        if name == ORIGIN_HEADER and value is not None:
            text = bytes(value).decode("utf-8", "replace")
            return text if text else None
    return None
