"""What a pattern is: steps, the time they have, and what must not happen."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import polars as pl
from polars.exceptions import PolarsError

from operators.columns.arrays import Bools, Int64s
from operators.columns.expressions import one_row, select_rows
from operators.records.tables import TIME
from operators.state.event_time_buffer import Side

STEP_BITS: Final = "_marks"
"""Which conditions an event meets, as bits of an Int64 column."""

_MAX_STEPS: Final = 16


class PatternError(ValueError):
    """A pattern that cannot be used; the message says why."""


@dataclass(frozen=True)
class Step:
    """One step: an event of the key that meets `where`, an SQL expression over its columns.

    It is the first such event behind the step before (Flink's followedBy), or with `strict`
    the key's very next event, which fails the match if it does not meet `where` (next). An
    event in between that meets `unless` ends the match (notFollowedBy).
    """

    name: str
    where: str
    strict: bool = False
    unless: str | None = None


@dataclass(frozen=True)
class Absence:
    """No event that meets `where` in [last step, last step's time + `within` µs)."""

    where: str
    within: int


@dataclass(frozen=True)
class Pattern:
    """A pattern over the events of one key, in order of (event time, partition, offset).

    Each event that meets the first step starts a match, which takes one event per step. All of
    it lies within `within` µs: last.time - first.time < within, as in Flink. If `absent` is
    given the match counts only if no such event follows it in time.

    `matches` is "all" (Flink's default, NO_SKIP: every start that completes) or
    "skip_past_last" (an event belongs to at most one match: of the starts in order, one that
    lies within an earlier match, last event included, is dropped).

    Matches are looked for when the flow's watermark has passed the events by `lateness` µs, so
    the order of arrival does not matter; an event whose time plus `lateness` is before its
    partition's watermark is late and takes no part. A condition that is null is not met.

    `side` says what is kept of an event: a match has `<step>_<column>` for each, the key's
    columns, `started_at`, `ended_at` (its first and last event) and `settled_at`: the µs
    behind the last event, or the end of the absence.

    Sources: Apache Flink, docs/libs/cep (contiguity, skip strategies, lateness in event time)
    and NFA.java (an event at start + within is too late).
    """

    name: str
    side: Side
    steps: tuple[Step, ...]
    within: int
    absent: Absence | None = None
    matches: Literal["all", "skip_past_last"] = "all"
    lateness: int = 0

    def __post_init__(self) -> None:
        """Raise PatternError for a pattern that says nothing or the same name twice."""
        names = [step.name for step in self.steps]
        problems = []
        if not 1 <= len(names) <= _MAX_STEPS:
            problems.append(f"has {len(names)} steps, not 1 to {_MAX_STEPS}")
        if len(set(names)) < len(names):
            problems.append("names a step twice")
        if len(names) == 1 and self.absent is None:
            problems.append("is a single event; a rule does that")
        if self.steps and (self.steps[0].strict or self.steps[0].unless):
            problems.append("has a first step that looks at an earlier one")
        if self.within <= 0 or (self.absent and self.absent.within <= 0):
            problems.append("has no time")
        if self.lateness < 0:
            problems.append("has a negative lateness")
        empty = pl.DataFrame(schema=dict(self.side.types))
        for sql in self._conditions:
            try:
                kind = empty.select(one_row(sql)).dtypes[0]
                if kind != pl.Boolean:
                    problems.append(f"condition {sql!r} gives {kind}, not true or false")
            except PolarsError as error:
                problems.append(f"condition {sql!r}: {str(error).splitlines()[0]}")
        if problems:
            raise PatternError(f"pattern {self.name} " + "; ".join(problems))

    @property
    def _conditions(self) -> list[str]:
        """Every condition, its place the number of its bit."""
        found = [step.where for step in self.steps]
        found += [step.unless for step in self.steps if step.unless]
        return [*found, self.absent.where] if self.absent else found

    @cached_property
    def marks(self) -> pl.Expr:
        """The bits of the conditions that an event meets."""
        bits = (
            pl.when(one_row(sql).fill_null(False)).then(1 << bit).otherwise(0)
            for bit, sql in enumerate(self._conditions)
        )
        return pl.sum_horizontal(bits).cast(pl.Int64).alias(STEP_BITS)

    @property
    def strict(self) -> bool:
        """Whether some step is strict, so that events meeting nothing matter too."""
        return any(step.strict for step in self.steps)

    def where(self, marks: Int64s, step: int) -> Bools:
        """Tell for each event whether it meets a step's `where`."""
        return self._bit(marks, step)

    def unless(self, marks: Int64s, step: int) -> Bools | None:
        """Tell for each event whether it meets a step's `unless`; None without one."""
        if not self.steps[step].unless:
            return None
        earlier = sum(1 for each in self.steps[:step] if each.unless)
        return self._bit(marks, len(self.steps) + earlier)

    def absence(self, marks: Int64s) -> Bools:
        """Tell for each event whether it is one that must not happen."""
        return self._bit(marks, len(self._conditions) - 1)

    @staticmethod
    def _bit(marks: Int64s, bit: int) -> Bools:
        met: Bools = (marks >> bit) & 1 == 1
        return met

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the events that matter as keyed rows with STEP_BITS.

        Raises PolarsError if a condition fails on some event.
        """
        marked = frame.hstack(select_rows(frame, [self.marks]))
        if not self.strict:
            marked = marked.filter(pl.col(STEP_BITS) != 0)
        rows = self.side.rows(marked)
        return rows.with_columns(marked[STEP_BITS])

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of a match with their types."""
        columns: Mapping[str, pl.DataType] = self.side.schema
        return {
            **{by: self.side.types[by] for by in self.side.by},
            **{f"{s.name}_{n}": t for s in self.steps for n, t in columns.items()},
            "started_at": TIME,
            "ended_at": TIME,
            "settled_at": TIME,
        }
