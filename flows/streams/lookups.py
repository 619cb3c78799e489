"""Lookups: what records of a stream are told of others' rows, as of their event time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from flows.streams.stream import Stream
from operators.changes import DELETED
from operators.joins import TemporalJoin
from operators.records.tables import COORDINATES, Table
from operators.state.event_time_buffer import LATE_ROWS, Side

_PLACE: Final = ("source_partition", "source_offset")


@dataclass(frozen=True)
class Lookup:
    """A stream of changes, known by the columns `by` of whoever asks.

    `columns` are what is told of a row, each by the name that it is given; `event_time` is since
    when the row was so, null where there was none.
    """

    stream: Stream
    by: tuple[str, ...]
    columns: Mapping[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that its rows are known by."""
        return self.stream.changes.by if self.stream.changes else ()

    @property
    def definition(self) -> str:
        """What is told, and what makes it, as a text."""
        changes = self.stream.changes
        assert changes is not None  # noqa: S101 # see Enriched
        # What is kept of them, and how, is no matter here.
        of = replace(changes, keeps="current", buckets=1)
        return f"{self.stream.name} by {', '.join(self.by)}: {dict(self.columns)}, {of!r}"


@dataclass(frozen=True)
class Enriched:
    """The records of a stream with what `lookups` told of each, as of its event time.

    A flow of this name writes them, `columns` of them, to ``gold/<stream>_<name>``. It reads the
    topics by itself: what streams' own flows do does not wait for it, nor it for them.
    """

    name: str
    stream: Stream
    columns: tuple[str, ...]
    lookups: tuple[Lookup, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for lookups that cannot be told apart, or are of no changes."""
        streams = [each.name for each in self.streams]
        if len({*streams}) < len(streams):
            raise ValueError(f"{self.name} reads one of {', '.join(streams)} twice")
        told = [*self.columns, *(name for each in self.lookups for name in each.columns)]
        if twice := sorted({name for name in told if told.count(name) > 1}):
            raise ValueError(f"{self.name} has two columns {', '.join(twice)}")
        if other := [each.stream.name for each in self.lookups if not each.stream.changes]:
            raise ValueError(f"{self.name} looks up {', '.join(other)}, which is of no changes")

    @property
    def definition(self) -> str:
        """What is told of whom, and what makes it, as a text."""
        return "; ".join([", ".join(self.columns), *(each.definition for each in self.lookups)])

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """All that are read, the one that asks first; its features are not wanted."""
        return (_bare(self.stream), *(each.stream for each in self.lookups))

    def joins(self, topics: Mapping[str, str], lateness: int) -> list[TemporalJoin]:
        """Return the join of each lookup, by the streams' topics; `lateness` is in µs.

        The first one's rows have the columns of the stream that asks, the others' its places.
        """
        made, columns = [], (*self.columns, *COORDINATES)
        types = {**self.stream.fields, **COORDINATES}
        for each in self.lookups:
            left = Side(topics[self.stream.name], each.by, {n: n for n in columns}, types)
            right = Side(topics[each.stream.name], each.key, each.columns, each.stream.columns)
            made.append(TemporalJoin(left, right, deleted=DELETED, lateness=lateness))
            columns = _PLACE
        return made

    def table(self, lateness: int) -> Table:
        """Return the table; `lateness` is in µs."""
        first, *others = self.joins({each.name: each.name for each in self.streams}, lateness)
        columns = dict(first.left.schema)
        for join in (first, *others):
            columns |= join.right.schema
        return Table(
            f"gold/{self.stream.name}_{self.name}",
            columns | {"settled_at": first.schema["settled_at"]},
            fenced="by window",
            lateness=lateness,
            closes="settled_at",
        )

    @property
    def late(self) -> Table:
        """The records and the changes that came too late to take part."""
        return Table(f"gold/late_for_{self.stream.name}_{self.name}", LATE_ROWS)

    @property
    def tables(self) -> list[Table]:
        """Both, whatever the settings."""
        return [self.late, self.table(0)]


def _bare(stream: Stream) -> Stream:
    """Return a stream without features and rules, as who only joins its records reads it."""
    return replace(stream, stated=(), coded=(), added=(), former=None, model=None, rules=None)
