"""Encoding: an epoch's rows as Parquet while they come, so that its end has little left to do.

Of a table of two days' payments, row groups of two rows:

>>> table = Table("t", {"day": pl.Date(), "n": pl.Int64()}, partition_by=("day",))
>>> encoder = Encoder(table, pl.Schema(table.columns), group_rows=2)
>>> first, second = date(2026, 3, 1), date(2026, 3, 2)
>>> encoder.add(pl.DataFrame({"day": [first, first, second], "n": [1, 2, 9]}))
>>> encoder.add(pl.DataFrame({"day": [first], "n": [3]}))
>>> for file in encoder.finish():
...     print(file.texts, pl.read_parquet(file.data)["n"].to_list())
...     print(file.statistics)
{'day': '2026-03-01'} [1, 2, 3]
{"numRecords":3,"minValues":{"n":1},"maxValues":{"n":3},"nullCount":{"n":0}}
{'day': '2026-03-02'} [9]
{"numRecords":1,"minValues":{"n":9},"maxValues":{"n":9},"nullCount":{"n":0}}

The files are bytes until the commit puts them into the table's folder: one that lay there before
would be nobody's, and a vacuum might take it.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from operators.connectors.delta.parquet import GROUP_MOST, writer_options
from operators.connectors.delta.statistics import Statistics
from operators.records.tables import Table

GROUP_ROWS: Final = 32_768
"""Rows that are encoded at once: of more the processor's cache has no room."""

GROUP_LEAST: Final = 4_096
"""Of fewer rows a row group would be mostly what each of them has."""

FILE_BYTES: Final = 100 * 1024 * 1024
"""Where a file is as large, the next rows come into another."""

_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Encoded:
    """A file that is to be added to a table: where, its bytes, and what the log says of it.

    `partition` has the partition columns' values, `texts` has them as the log does, and
    `statistics` are the JSON of
    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics.
    """

    path: str
    data: bytes
    partition: dict[str, Any]
    texts: dict[str, str | None]
    statistics: str

    def rows(self, columns: pl.Schema) -> pl.DataFrame:
        """Return its rows, with their folder's values as `columns` of a table."""
        values = [pl.lit(v, columns[name]).alias(name) for name, v in self.partition.items()]
        return pl.read_parquet(self.data).with_columns(values)


class Encoder:
    """Makes files of rows; not for use by two threads at once."""

    def __init__(
        self, table: Table, columns: pl.Schema, *, group_rows: int = GROUP_ROWS
    ) -> None:
        """`columns` are those that the table has, with their types, in its order."""
        self._table, self._columns, self._group_rows = table, columns, group_rows
        self._files: dict[tuple[Any, ...], _File] = {}
        self._done: list[Encoded] = []

    def add(self, rows: pl.DataFrame, least: int | None = None) -> None:
        """Take rows with all of the table's columns.

        What has come to a row group is encoded, or to `least` rows if that is told.
        """
        enough = self._group_rows if least is None else least
        for values, part in self._parts(rows):
            file = self._files.get(values)
            if file is None:
                file = self._files[values] = self._open(values)
            file.take(part, enough)
            if file.size > FILE_BYTES:
                self._done.append(self._files.pop(values).close())

    def _parts(self, rows: pl.DataFrame) -> Iterable[tuple[tuple[Any, ...], pl.DataFrame]]:
        if not rows.height:
            return []
        by, first = list(self._table.partition_by), rows.row(0, named=True)
        if all(rows[name].eq_missing(first[name]).all() for name in by):
            # Of one folder, as most are: nothing is copied.
            return [(tuple(first[name] for name in by), rows.drop(by))]
        return rows.partition_by(by, as_dict=True, include_key=False).items()

    def finish(self) -> list[Encoded]:
        """Encode what is left, and return all files since the last time."""
        done = [*self._done, *(file.close() for file in self._files.values())]
        self._files, self._done = {}, []
        return done

    def _open(self, values: Sequence[Any]) -> "_File":
        partition = dict(zip(self._table.partition_by, values, strict=True))
        inner = {n: kind for n, kind in self._columns.items() if n not in partition}
        return _File(partition, pl.Schema(inner), partial(writer_options, self._table))


class _File:
    def __init__(
        self,
        partition: dict[str, Any],
        columns: pl.Schema,
        options: Callable[[pl.DataFrame], dict[str, Any]],
    ) -> None:
        self._partition, self._columns, self._options = partition, columns, options
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._out = pa.BufferOutputStream()
        self._writer: Any = None
        self._statistics = Statistics(columns)

    @property
    def size(self) -> int:
        """Bytes that are encoded."""
        return int(self._out.tell())

    def take(self, rows: pl.DataFrame, enough: int) -> None:
        self._waiting.append(rows)
        self._rows += rows.height
        if self._rows >= enough:
            self._encode()

    def close(self) -> Encoded:
        if self._rows:
            self._encode()
        self._writer.close()
        texts = {name: _text(value) for name, value in self._partition.items()}
        folder = "".join(f"{n}={_NO_VALUE if v is None else v}/" for n, v in texts.items())
        return Encoded(
            f"{folder}part-00000-{uuid.uuid4()}-c000.snappy.parquet",
            self._out.getvalue().to_pybytes(),
            self._partition,
            texts,
            self._statistics.of(self._writer.writer.metadata),
        )

    def _encode(self) -> None:
        rows = pl.concat(self._waiting, rechunk=True)
        if rows.schema != self._columns:
            rows = rows.cast(self._columns)
        self._waiting, self._rows = [], 0
        self._statistics.see(rows)
        made = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._out, made.schema, **self._options(rows))
        self._writer.write_table(made, row_group_size=GROUP_MOST)


def _text(value: Any) -> str | None:
    return (
        None if value is None else value.isoformat() if isinstance(value, date) else str(value)
    )
