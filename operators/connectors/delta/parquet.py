"""Parquet: how a table's columns are encoded.

The encodings are those of https://parquet.apache.org/docs/file-format/data-pages/encodings/.
Whole numbers and times are written as differences: two thirds of a dictionary's time, and 54
bytes a payment in silver instead of 70. Texts are written by dictionary, but for those that hardly
repeat.
"""

from typing import Any, Final

from deltalake import ColumnProperties, WriterProperties

from operators.records.tables import TIME, Table

COMPRESSION: Final = "SNAPPY"
ENCODING: Final = "DELTA_BINARY_PACKED"
GROUP_MOST: Final = 131_072
"""Rows of a row group at most: it is held in memory, encoded and not, until it is full."""


def writer_properties(table: Table) -> WriterProperties:
    """Return how deltalake is to write a table's rows."""
    packed = ColumnProperties(dictionary_enabled=False, encoding=ENCODING)
    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(
        compression=COMPRESSION,
        max_row_group_size=GROUP_MOST,
        column_properties={
            **dict.fromkeys(_plain(table), plain),
            **dict.fromkeys(_packed(table), packed),
        },
    )


def writer_options(table: Table, names: list[str]) -> dict[str, Any]:
    """Return how PyArrow's `ParquetWriter` is to write the columns of a table that are named."""
    packed, plain = _packed(table), _plain(table)
    return {
        "compression": COMPRESSION,
        "use_dictionary": [n for n in names if n not in packed and n not in plain],
        "column_encoding": {n: ENCODING for n in packed if n in names},
        # What the columns are is told by Parquet's own types, and by the table.
        "store_schema": False,
    }


def _packed(table: Table) -> list[str]:
    numbers = [n for n, kind in table.schema.items() if kind == TIME or kind.is_integer()]
    return [name for name in numbers if name not in table.partition_by]


def _plain(table: Table) -> list[str]:
    return [name for name in table.scattered if name in table.columns]
