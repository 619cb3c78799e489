"""Stretches: records of a source partition between two minutes, and what became of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.times import NO_TIME, in_micros
from operators.records.batches import RawBatch
from operators.records.raw import known_times

COUNTS: Final = ("records", "missing", "valid", "repaired", "late", "duplicates", "refused")
"""What a stretch has of each.

`missing` are offsets without a record; `repaired` and `late` are among the `valid`; each record is
valid, a duplicate or refused. Late is what came when its partition's watermark had passed it.
"""

Kind: TypeAlias = Literal["read", "good", "again", "refused"]

KINDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "read": ("kafka_timestamp",),
    "good": ("event_time", "watermark", "repairs", "contract_warnings"),
    "again": (),
    "refused": ("stage", "code"),
}
"""What is needed of each row, beside its partition and offset; `repairs` and
`contract_warnings` where there are some."""

UNTIMED: Final[Mapping[Kind, tuple[str, ...]]] = {
    **KINDS,
    "good": ("repairs", "contract_warnings"),
}
"""The same of records of which nobody knows when what they tell of has happened."""

WARNED: Final = "warn"
"""The stage of what a check of that severity tells of a record that passes."""

_TOLD: Final = "contract_warnings"
_MINUTE: Final = 60_000_000
_BLOCK: Final = 10  # 1,024 offsets
_REFUSED: Final = ("decode", "contract")


def _none() -> Int64s:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Part:
    """Some rows of a kind and a partition: records as they were read, or what became of them.

    `offsets` ascend; `times` are Kafka's or the events', in µs, of those that were read or are
    good; `late`, `repaired` and `warned` are the offsets of those that are, `codes` what each of
    the last breaks for all that, with commas, `why` stage and code of each that was refused.
    """

    kind: Kind
    partition: int
    offsets: Int64s
    times: Int64s = field(default_factory=_none)
    late: Int64s = field(default_factory=_none)
    repaired: Int64s = field(default_factory=_none)
    why: Sequence[tuple[str, str]] = ()
    warned: Int64s = field(default_factory=_none)
    codes: Sequence[str] = ()

    @classmethod
    def came(cls, raw: RawBatch) -> list[Self]:
        """Return the part of records as they were read, where there are any."""
        if not len(raw):
            return []
        known = known_times(raw.timestamps)
        times = np.where(known, raw.timestamps * 1000, NO_TIME)
        return [cls("read", raw.progress.partition, raw.offsets, times)]

    @classmethod
    def of(cls, kind: Kind, rows: pl.DataFrame, *, timed: bool = True) -> list[Self]:
        """Return the parts of rows, one for each run of a partition's.

        Of good ones that are not `timed`, a field may have the name of what is not meant by it.
        """
        if not rows.height:
            return []
        partitions = rows["source_partition"].to_numpy()
        if partitions[0] == partitions[-1] and (partitions == partitions[0]).all():
            return [cls._of(kind, int(partitions[0]), rows, timed)]
        ends = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), rows.height]
        return [
            cls._of(kind, int(partitions[start]), rows.slice(start, end - start), timed)
            for start, end in pairwise(ends)
        ]

    @classmethod
    def _of(cls, kind: Kind, partition: int, rows: pl.DataFrame, timed: bool) -> Self:
        offsets = rows["source_offset"].to_numpy()
        if kind == "read":
            return cls(kind, partition, offsets, in_micros(rows["kafka_timestamp"]))
        if kind == "good":
            times = late = repaired = _none()
            if timed:
                times = in_micros(rows["event_time"])
                late = offsets[times < in_micros(rows["watermark"])]
            mended = rows["repairs"] if "repairs" in rows.columns else None
            if mended is not None and mended.null_count() < len(mended):
                repaired = offsets[mended.is_not_null().to_numpy()]
            warned, codes = _none(), list[str]()
            told = rows[_TOLD] if _TOLD in rows.columns else None
            if told is not None and told.null_count() < len(told):
                warned = offsets[told.is_not_null().to_numpy()]
                codes = told.drop_nulls().to_list()
            return cls(
                kind, partition, offsets, times, late, repaired, warned=warned, codes=codes
            )
        if (offsets[1:] < offsets[:-1]).any():
            return cls._of(kind, partition, rows.sort("source_offset"), timed)
        why = [*rows[["stage", "code"]].iter_rows()] if kind == "refused" else ()
        return cls(kind, partition, offsets, why=why)

    def between(self, first: int, end: int | None) -> Self:
        """Return what is from an offset on, and before another."""
        bounds = [first] if end is None else [first, end]

        def at(offsets: Int64s) -> slice:
            return slice(*np.searchsorted(offsets, bounds).tolist(), *([None] * (end is None)))

        here = at(self.offsets)
        return replace(
            self,
            offsets=self.offsets[here],
            times=self.times[here],
            late=self.late[at(self.late)],
            repaired=self.repaired[at(self.repaired)],
            why=self.why[here],
            warned=self.warned[at(self.warned)],
            codes=self.codes[at(self.warned)],
        )


@dataclass
class Stretch:
    """What has come of the stretch of a partition that is open.

    `minute` and `event` are in µs, NO_TIME where there is none; `block` is that of the last record
    of its newest minute.
    """

    first: int
    minute: int
    block: int
    kafka: int = NO_TIME
    event: int = NO_TIME
    counts: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def at(cls, part: Part) -> Self:
        """Return one that begins with the first of some records that were read."""
        first = int(part.offsets[0])
        return cls(first, int(_minutes(part.times[:1])[0]), first >> _BLOCK)

    @classmethod
    def load(cls, state: Sequence[Any]) -> Self:
        """Return what `dump` has told."""
        first, minute, block, kafka, event, counts, broken = state
        known = Counter(dict(counts)), Counter({tuple(why): n for why, n in broken})
        return cls(first, minute, block, kafka, event, *known)

    def dump(self) -> tuple[Any, ...]:
        """Return the state."""
        told = [*self.counts.items()], [*self.broken.items()]
        return self.first, self.minute, self.block, self.kafka, self.event, *told

    def add(self, part: Part) -> None:
        """Add rows, whose stretch it is."""
        counts, n = self.counts, len(part.offsets)
        if part.kind == "read":
            counts["records"] += n
            self.kafka = max(self.kafka, int(part.times.max(initial=NO_TIME)))
        elif part.kind == "good":
            counts["valid"] += n
            counts["late"] += len(part.late)
            counts["repaired"] += len(part.repaired)
            self.broken.update(
                (WARNED, code) for some in part.codes for code in some.split(",")
            )
            self.event = max(self.event, int(part.times.max(initial=NO_TIME)))
        elif part.kind == "again":
            counts["duplicates"] += n
        else:
            counts["refused"] += sum(stage in _REFUSED for stage, _ in part.why)
            self.broken.update(part.why)

    def rows(self, topic: str, partition: int, at: int, behind: int) -> list[tuple[Any, ...]]:
        """Return its rows: ended by the record at an offset, and all offsets before `behind`."""
        place = topic, partition, at, _known(self.minute), self.first
        self.counts["missing"] = behind - self.first - self.counts["records"]
        both = NO_TIME not in (self.event, self.kafka)
        newest = _known(self.event), self.kafka - self.event if both else None
        whole = (*place, None, None, *(self.counts[name] for name in COUNTS), 0, *newest)
        nothing = (0,) * len(COUNTS)
        return [whole] + [
            (*place, *why, *nothing, count, None, None)
            for why, count in sorted(self.broken.items())
        ]


class Cut(NamedTuple):
    """The record that ends a stretch: its offset, and the minute, in µs, that begins with it."""

    at: int
    minute: int


def _minutes(times: Int64s) -> Int64s:
    return np.where(times == NO_TIME, NO_TIME, times // _MINUTE * _MINUTE)


def cuts(offsets: Int64s, times: Int64s, newest: int, block: int) -> tuple[list[Cut], int]:
    """Return which records end a stretch, and the block of the last one of the newest minute.

    `newest` is the minute of the stretch that is open, `block` that of its last record.
    """
    if newest <= times.min() and times.max() < newest + _MINUTE:
        return [], int(offsets[-1]) >> _BLOCK
    found: list[Cut] = []
    minutes, blocks = _minutes(times), offsets >> _BLOCK
    at = 0
    while at < len(offsets):
        rest, where = minutes[at:], blocks[at:]
        running = np.maximum.accumulate(np.concatenate([[newest], rest]))
        seen = np.maximum.accumulate(np.where(rest == running[1:], where, block))
        gone = np.flatnonzero(where - seen >= 2)
        end = int(gone[0]) if gone.size else len(rest)
        for up in np.flatnonzero(rest[:end] > running[:end]).tolist():
            found.append(Cut(int(offsets[at + up]), int(rest[up])))
        if not gone.size:
            return found, int(seen[-1])
        newest, block = int(rest[end]), int(where[end])
        found.append(Cut(int(offsets[at + end]), newest))
        at += end + 1
    return found, block


def _known(time: int) -> int | None:
    return None if time == NO_TIME else time
