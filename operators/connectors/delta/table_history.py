"""Table history: a table's rows of a topic in the order of each partition's offsets.

At a table's speed, whatever became of its files since: an order of commits that another engine
has compacted is none. So rows are found by their offsets, a window of them at a time, and
statistics spare the files and row groups that have none. A window is of all the partitions that
have nothing left to give: files hold rows of all partitions, and are read once for all.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query, read
from operators.connectors.delta.table import reaching

ROWS: Final = 131_072
"""About how many rows a window has, of all partitions together."""

_SPANS: Final = (
    "SELECT source_partition AS partition, min(source_offset) AS first, "
    "max(source_offset) AS last, count(*) AS rows FROM rows WHERE {where} "
    "GROUP BY source_partition"
)


@dataclass(slots=True)
class _Span:
    """What is still to be read of a partition: offsets from `next` to `last`, both inclusive.

    `rows` is how many there were of `width` offsets, when it began.
    """

    next: int
    last: int
    rows: int
    width: int


class TableHistory:
    """Reads a table's rows of one topic; threads may share it, each for partitions of its own.

    The table is that of a version, or of the one it had when it was first looked at; of a later
    one if the files of that were compacted and deleted meanwhile. Raises
    StorageUnavailableError.
    """

    def __init__(
        self,
        root: str,
        table: str,
        topic: str,
        columns: Mapping[str, pl.DataType],
        version: int | None = None,
    ) -> None:
        """`columns` are those to read; those that the table lacks are null."""
        self._version = version
        self._uri, self._topic, self._columns = table_uri(root, table), topic, dict(columns)
        self.name = table
        self._handle: DeltaTable | None = None
        self._spans: dict[int, _Span] = {}
        self._found: dict[int, list[pl.DataFrame]] = {}
        self._lock = threading.Lock()
        self.empty = pl.DataFrame(schema=self._columns)
        """No row."""

    def _ask(self, question: Callable[[DeltaTable], pl.DataFrame]) -> pl.DataFrame:
        """Return what a question to the table comes to."""
        if self._handle is not None and self._version is None:
            with contextlib.suppress(DeltaError, OSError):
                return question(self._handle)
            self._handle = None
        with reaching(self._uri):
            if self._handle is None:
                self._handle = DeltaTable(self._uri, version=self._version)
            return question(self._handle)

    def partitions(self) -> list[int]:
        """Return the partitions that have rows."""
        with self._lock:
            found = self._ask(partial(query, sql=_SPANS.format(where=self._of_topic())))
        return sorted(found["partition"].to_list())

    def begin(self, places: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Begin to read partitions: rows behind an offset, up to another (inclusive).

        Returns how many rows there are of each that has any.
        """
        if not places:
            return {}
        where = " OR ".join(
            f"(source_partition = {p} AND source_offset > {after} AND source_offset <= {until})"
            for p, (after, until) in places.items()
        )
        with self._lock:
            where = f"{self._of_topic()} AND ({where})"
            found = self._ask(partial(query, sql=_SPANS.format(where=where)))
            for partition, first, last, rows in found.rows():
                self._spans[partition] = _Span(first, last, rows, last - first + 1)
        return dict(found.select("partition", "rows").iter_rows())

    def _of_topic(self) -> str:
        name = self._topic.replace("'", "''")
        return f"source_topic = '{name}'"

    def take(self, partition: int, most: int) -> pl.DataFrame:
        """Return the next rows of a partition, `most` at the most; none at its end."""
        with self._lock:
            while not self._found.get(partition):
                if partition not in self._spans:
                    return self.empty
                self._read()
            frames = self._found[partition]
            rows = frames.pop(0)
            if rows.height > most:
                frames.insert(0, rows[most:])
            return rows[:most]

    def _read(self) -> None:
        """Read the next window of each partition that has nothing left to give."""
        asked = {p: span for p, span in self._spans.items() if not self._found.get(p)}
        total = sum(span.rows for span in asked.values())
        windows, where = [], []
        for partition, span in asked.items():
            # The same part of each, so that they come along at one pace.
            width = max(span.width * ROWS // total, 1)
            end = min(span.next + width - 1, span.last)
            windows.append((partition, end))
            where.append(
                f"(source_partition = {partition} AND source_offset BETWEEN {span.next} AND {end})"
            )
        asked_for = f"{self._of_topic()} AND ({' OR '.join(where)})"
        found = self._ask(partial(read, columns=self._columns, where=asked_for))
        rows = found.select(pl.col(name).cast(kind) for name, kind in self._columns.items())
        rows = rows.sort("source_partition", "source_offset")
        for (partition,), mine in rows.partition_by("source_partition", as_dict=True).items():
            self._found.setdefault(int(str(partition)), []).append(mine)
        for partition, end in windows:
            if end >= self._spans[partition].last:
                del self._spans[partition]
            else:
                self._spans[partition].next = end + 1

    def in_turns(
        self, partitions: Iterable[int], most: int
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield all that is left of partitions, `most` rows of each in turns, in their order."""
        left = list(partitions)
        while left:
            for partition in list(left):
                rows = self.take(partition, most)
                if rows.height:
                    yield partition, rows
                else:
                    left.remove(partition)


def in_order(
    root: str, table: str, topic: str, columns: Mapping[str, pl.DataType], most: int
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield all rows of a topic in a table, partition by partition in turns, in their order."""
    history = TableHistory(root, table, topic, columns)
    found = history.begin(dict.fromkeys(history.partitions(), (-1, 2**62)))
    yield from history.in_turns(found, most)
