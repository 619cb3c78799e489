"""What the records of a topic of changes are like, and what is kept of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from operators.columns.expressions import one_row
from operators.columns.hashing import can_be_key
from operators.records.tables import TIME

SEQUENCE: Final = "change_sequence"
"""The column of where a change stands among those of its key; null for a tombstone."""

DELETED: Final = "deleted"

OFFSET: Final = "offset"
"""The sequence of a topic that has none but its own order."""

EVENT_TIME: Final = "event_time"

ADDED: Final[Mapping[str, pl.DataType]] = {SEQUENCE: pl.Int64(), DELETED: pl.Boolean()}

SOURCE: Final = {"source.lsn": "lsn", "source.ts_ms": "ts_ms", "source.pos": "pos"}
"""What Debezium says of a change that may order it or be its time, by field of its `source`."""

SENT: Final = "envelope.ts_ms"
"""When Debezium had it."""

OP: Final = "_op"
"""A column of what an envelope says was done: c, u, r or d."""

THERE: Final = "_there"
"""A column of whether an envelope has the row."""

ENVELOPE: Final = {*SOURCE, SENT}

_MILLIS: Final = {SENT, "source.ts_ms"}


@dataclass(frozen=True)
class Changes:
    """How the records of a topic change rows, and what a table keeps of these.

    A row is known by the columns `by`. Of two changes of one the later is that of the higher
    `sequence`: a field of the row, of whole numbers or a time; `offset`, the topic's own order;
    or, in Debezium's `envelope`, one of `ENVELOPE`. Records are Avro or JSON, each as it is found.

    A change is of a `time`: a field of the row, or one of the envelope in ms. Unless stated it is
    the field `event_time` if there is one, `source.ts_ms`, or when Kafka had it; it is that also
    where there is none. A plain record `deletes` where this SQL over its fields is true, as does
    one of no value, a tombstone. The table `keeps` what is current, or all history, in so many
    `buckets`: folders, of which a commit reads and writes those that a changed row is in.
    """

    by: tuple[str, ...]
    sequence: str
    keeps: Literal["current", "history"] = "current"
    envelope: Literal["debezium", "plain"] = "plain"
    time: str | None = None
    deletes: str | None = None
    buckets: int = 64

    @property
    def enveloped(self) -> bool:
        """Whether rows are in an envelope."""
        return self.envelope == "debezium"

    def check(self, fields: Mapping[str, pl.DataType]) -> None:
        """Raise ValueError for what cannot be of rows of these fields."""
        problems = [
            f"no field {each} to know a row by" for each in self.by if each not in fields
        ]
        problems += [
            f"field {each} can be no key" for each in self.by
            if each in fields and not can_be_key(fields[each])
        ]  # fmt: skip
        if not self.by:
            problems.append("a row is known by nothing")
        known = ENVELOPE if self.enveloped else set()
        ordered = (self.sequence in fields) and (
            fields[self.sequence].is_integer() or fields[self.sequence] == TIME
        )
        if not (ordered or self.sequence in known | {OFFSET}):
            problems.append(f"the sequence {self.sequence} is no whole number, time or offset")
        timed = {name for name, kind in fields.items() if kind == TIME} | (known & _MILLIS)
        if self.time is not None and self.time not in timed:
            problems.append(f"the time {self.time} is none")
        if EVENT_TIME in fields and self.time not in (None, EVENT_TIME):
            problems.append("a field event_time is the time")
        if EVENT_TIME in fields and fields[EVENT_TIME] != TIME:
            problems.append("the field event_time is no time")
        problems += [
            f"a field {each} has the name of a column" for each in ADDED if each in fields
        ]
        if self.deletes is not None:
            if self.enveloped:
                problems.append("Debezium's envelope says itself what it deletes")
            unknown = sorted({*one_row(self.deletes).meta.root_names()} - {*fields})
            problems += [f"no field {each} to delete by" for each in unknown]
        if self.buckets < 1:
            problems.append("there are no buckets")
        if problems:
            raise ValueError("; ".join(problems))

    def columns(self, fields: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
        """Return the columns of a change, of rows of these fields."""
        return {**fields, EVENT_TIME: TIME, **ADDED}
