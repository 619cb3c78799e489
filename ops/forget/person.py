"""A person: all that tables have of whoever has a value in a tagged field."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from flows.enforced.topic import Enforced
from flows.privacy import guard_of
from flows.privacy_settings import PrivacySettings
from flows.streams import STREAMS, Stream, all_tables
from operators.avro import Lookup
from operators.connectors.delta.accounts import tables_there
from operators.connectors.delta.acts import ACTS
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import COORDINATES, TIME, Table
from ops.dlq.filters import Filters
from ops.dlq.quarantine import open_quarantines, quoted
from ops.dlq.sought import Sought, matching
from ops.dlq.streams import explainer_of, known_streams
from ops.forget.holder import Holder

_PLACE: Final = [*COORDINATES]
_KINDS: Final = {"place": pl.String(), **COORDINATES, "event_time": TIME}


def tags_of(stream: Stream) -> dict[str, str]:
    """Return the tags of a stream's fields by which a person can be told: those of one value."""
    return {
        name: tag
        for name, tag in stream.privacy.tags.items()
        if not stream.fields[name].is_nested()
    }


def named(column: str) -> str:
    """Return a column's name as SQL, whatever letters it has."""
    text = column.replace('"', '""')
    return f'"{text}"'


class NobodyError(KnownError):
    """A person cannot be told apart from others."""


@dataclass(frozen=True)
class Part:
    """What a table has of a person: rows at coordinates, or rows of windows with a value."""

    table: Table
    rows: int
    places: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=dict(COORDINATES)))
    column: str = ""
    values: tuple[str, ...] = ()

    def predicates(self, most: int = 10_000) -> Iterator[str]:
        """Yield what holds of the rows, as SQL, so many at a time."""
        for start in range(0, len(self.values), most):
            some = ", ".join(quoted(each) for each in self.values[start : start + most])
            yield f"{self.column} IN ({some})"
        for (topic, partition), mine in self.places.group_by(_PLACE[:2], maintain_order=True):
            for offsets in mine.select("source_offset").sort("source_offset").iter_slices(most):
                among = ", ".join(map(str, offsets["source_offset"]))
                yield f"{_of(topic, partition)} AND source_offset IN ({among})"


def _of(topic: Any, partition: Any) -> str:
    return f"source_topic = {quoted(topic)} AND source_partition = {partition}"


@dataclass(frozen=True)
class Person:
    """What there is of a person: by stream the records, and the parts of tables.

    `shared` are how many values of other fields somebody else has as well, such as a card of two
    people: rows of windows by these stay.
    """

    records: dict[str, pl.DataFrame]
    parts: list[Part]
    shared: int


class Search:
    """Looks for a person in the tables under a root. Raises StorageUnavailableError."""

    def __init__(
        self,
        root: str,
        settings: PrivacySettings,
        lookup: Lookup,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`lookup` finds the schemas of what was refused; `told` hears what is looked into."""
        self._root, self._settings, self._lookup, self._told = root, settings, lookup, told
        self._streams = known_streams()
        every = [
            *all_tables(),
            *(t for s in self._streams if isinstance(s, Enforced) for t in s.all_tables),
            *(each for each in ACTS if COORDINATES.keys() <= each.schema.keys()),
        ]
        self._handles = {
            table.name: (table, handle) for table, handle in tables_there(root, every)
        }

    def person(self, name: str, value: str) -> Person:
        """Return what there is of whoever has a value in the field `name`.

        Raises NobodyError where it is masked, and NoKeyError.
        """
        records: dict[str, list[pl.DataFrame]] = {}
        keys: dict[str, set[str]] = {}
        shared = 0
        for stream in self._streams:
            if name not in tags_of(stream):
                continue
            rows = self._silver(stream, name, value)
            mine = [self._placed(stream, rows), self._refused(stream, name, value)]
            records.setdefault(stream.name, []).extend(mine)
            keys.setdefault(name, set()).add(self._treated(stream, name, value))
            for other, values in self._others(stream, name, rows):
                own = self._alone(stream, name, other, values, rows)
                shared += len(values) - len(own)
                keys.setdefault(other, set()).update(own)
            # Who is known by an event's id is found by that field where others have it.
            for of, found in self._of_events(stream, rows) if stream.id != name else ():
                records.setdefault(of, []).append(found)
        every = {of: pl.concat(found).unique(_PLACE) for of, found in records.items()}
        places = pl.concat([pl.DataFrame(schema=_KINDS), *every.values()]).select(_PLACE)
        parts = [*self._by_place(places), *self._by_key(keys)]
        return Person(every, [each for each in parts if each.rows], shared)

    def _treated(self, stream: Stream, name: str, value: str) -> str:
        guard = guard_of(self._settings, stream)
        if guard.privacy.of("silver").get(name) == "mask":
            raise NobodyError(
                f"{name} of {stream.name} is masked in silver, and whose rows these are nobody can "
                "tell: name the person by another field"
            )
        return guard.value("silver", name, value)

    def _read(self, table: Table, columns: Iterable[str], where: str) -> pl.DataFrame:
        kinds = {each: table.schema[each] for each in columns}
        if table.name not in self._handles:
            return pl.DataFrame(schema=kinds)
        self._told(f"looking into {table.name}")
        handle = self._handles[table.name][1]
        with reaching(handle.table_uri):
            rows = read(handle, kinds, where)
        return rows.select(pl.col(each).cast(kind) for each, kind in kinds.items())

    def _silver(self, stream: Stream, name: str, value: str) -> pl.DataFrame:
        tags = [n for n in stream.privacy.tags if stream.fields[n] == pl.String()]
        told = [] if isinstance(stream, Enforced) else ["event_time", stream.id]
        own = named(name)
        where = f"{own} = {quoted(self._treated(stream, name, value))}"
        if name not in tags:
            # A number, or what is put together: no treatment is for any of these but masking.
            where = f"CAST({own} AS VARCHAR) = {quoted(value)}"
        return self._read(stream.silver, dict.fromkeys([*_PLACE, *told, *tags]), where)

    def _placed(self, stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
        """Return silver's rows and the duplicates of them as records."""
        if "event_time" not in rows.columns:
            rows = rows.with_columns(pl.lit(None, TIME).alias("event_time"))
        good = rows.select(pl.lit("silver").alias("place"), *_PLACE, "event_time")
        columns, repeated = [*_PLACE, "first_partition", "first_offset"], stream.ledger.repeated
        duplicates = None
        if repeated is not None and rows.height:
            duplicates = self._read(repeated, columns, "true")
        if duplicates is None:
            return good
        firsts = rows.select(
            "source_topic",
            first_partition="source_partition",
            first_offset="source_offset",
        )
        again = duplicates.join(firsts, on=firsts.columns, how="semi")
        more = again.select(
            pl.lit("duplicates").alias("place"), *_PLACE, pl.lit(None, TIME).alias("event_time")
        )
        return pl.concat([good, more])

    def _refused(self, stream: Stream, name: str, value: str) -> pl.DataFrame:
        """Return the records that were refused and have the value."""
        frames = [pl.DataFrame(schema=_KINDS)]
        if stream.quarantine.name not in self._handles:
            return frames[0]
        self._told(f"looking into {stream.quarantine.name}")
        # What the keys of an enforced topic are, nobody has said.
        of_key = name == stream.key or isinstance(stream, Enforced)
        has = Holder(name, value, explainer_of(stream, self._lookup), of_key=of_key)
        quarantines = open_quarantines(self._root, [stream.name])
        for rows in matching(quarantines[0], Filters(discarded=None), Sought(), self._lookup):
            places = [pl.col(n).cast(kind) for n, kind in COORDINATES.items()]
            frames.append(
                rows.filter(has(rows)).select(
                    pl.lit("quarantine").alias("place"),
                    *places,
                    pl.lit(None, TIME).alias("event_time"),
                )
            )
        return pl.concat(frames)

    def _others(
        self, stream: Stream, name: str, rows: pl.DataFrame
    ) -> Iterator[tuple[str, set[str]]]:
        tags = stream.privacy.tags
        by = {each for windows in stream.windows.values() for each in windows.by}
        for other in tags.keys() & by - {name}:
            yield other, set(rows[other].drop_nulls())

    def _alone(
        self, stream: Stream, name: str, other: str, values: set[str], mine: pl.DataFrame
    ) -> set[str]:
        """Return the values of another field that nobody else has."""
        if not values:
            return values
        some = ", ".join(quoted(each) for each in sorted(values))
        rows = self._read(stream.silver, [*_PLACE, other], f"{other} IN ({some})")
        theirs = rows.join(mine, on=_PLACE, how="anti")[other]
        return values - set(theirs)

    def _of_events(
        self, stream: Stream, rows: pl.DataFrame
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield of other streams the records that are about these events."""
        if isinstance(stream, Enforced):
            return
        ids = rows[stream.id].unique()
        for other in STREAMS:
            if other is stream or stream.id not in other.fields or not len(ids):
                continue
            columns = [*_PLACE, "event_time", other.id, stream.id]
            found = self._read(other.silver, dict.fromkeys(columns), "true")
            found = found.filter(pl.col(stream.id).is_in(ids.implode()))
            if found.height:
                yield other.name, self._placed(other, found)

    def _by_place(self, places: pl.DataFrame) -> Iterator[Part]:
        for table, _ in self._handles.values():
            if not (COORDINATES.keys() <= table.schema.keys() and places.height):
                continue
            frames = [pl.DataFrame(schema=dict(COORDINATES))]
            for (topic, partition), mine in places.group_by(_PLACE[:2]):
                offsets = mine["source_offset"].sort()
                within = f"source_offset BETWEEN {offsets[0]} AND {offsets[-1]}"
                where = f"{_of(topic, partition)} AND {within}"
                frames.append(self._read(table, _PLACE, where))
            there = pl.concat(frames).join(places.unique(), on=_PLACE, how="semi")
            yield Part(table, there.height, there.unique())

    def _by_key(self, keys: dict[str, set[str]]) -> Iterator[Part]:
        for stream in STREAMS:
            for window in stream.windows:
                table = stream.window_table(window)
                for name in stream.windows[window].by:
                    values = tuple(sorted(keys.get(name, ())))
                    if table.name in self._handles and values:
                        some = ", ".join(map(quoted, values))
                        rows = self._read(table, [name], f"{name} IN ({some})")
                        yield Part(table, rows.height, column=name, values=values)
