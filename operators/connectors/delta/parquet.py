"""Parquet: how a table's columns are encoded.

The encodings are those of https://parquet.apache.org/docs/file-format/data-pages/encodings/.
Whole numbers and times are written as differences: two thirds of a dictionary's time, and 54
bytes a payment in silver instead of 70. Texts are written by dictionary, but for those that hardly
repeat: where the table does not say which these are, its rows tell.
"""

from typing import Any, Final

import polars as pl
from deltalake import ColumnProperties, WriterProperties

from operators.records.tables import TIME, Table

COMPRESSION: Final = "SNAPPY"
ENCODING: Final = "DELTA_BINARY_PACKED"
GROUP_MOST: Final = 131_072
"""Rows of a row group at most: it is held in memory, encoded and not, until it is full."""

_LOOKED_AT: Final = 20_000


def writer_properties(table: Table, rows: pl.DataFrame | None = None) -> WriterProperties:
    """Return how deltalake is to write a table's rows, of which some may be looked at."""
    packed = ColumnProperties(dictionary_enabled=False, encoding=ENCODING)
    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(
        compression=COMPRESSION,
        max_row_group_size=GROUP_MOST,
        column_properties={
            **dict.fromkeys(_plain(table, rows), plain),
            **dict.fromkeys(_packed(table), packed),
        },
    )


def writer_options(table: Table, rows: pl.DataFrame) -> dict[str, Any]:
    """Return how PyArrow's `ParquetWriter` is to write columns of a table's, as `rows` has them."""
    packed, plain = _packed(table), _plain(table, rows)
    return {
        "compression": COMPRESSION,
        "use_dictionary": [n for n in rows.columns if n not in packed and n not in plain],
        "column_encoding": {n: ENCODING for n in packed if n in rows.columns},
        # What the columns are is told by Parquet's own types, and by the table.
        "store_schema": False,
    }


def _packed(table: Table) -> list[str]:
    numbers = [n for n, kind in table.schema.items() if kind == TIME or kind.is_integer()]
    return [name for name in numbers if name not in table.partition_by]


def _plain(table: Table, rows: pl.DataFrame | None) -> list[str]:
    if table.scattered is not None:
        return [name for name in table.scattered if name in table.columns]
    return [] if rows is None else _scattered(rows.head(_LOOKED_AT))


def _scattered(rows: pl.DataFrame) -> list[str]:
    """Return the texts and fractions of which more than half of some rows have one of their own."""
    return [
        column.name
        for column in rows.get_columns()
        if column.dtype in (pl.String, pl.Binary, pl.Float64)
        and 2 * (column.n_unique() - 1) > len(column) - column.null_count()
    ]
