"""The rest: fields that a writer has and no version here, kept as the text of a JSON object."""

from collections.abc import Sequence
from typing import Final

import polars as pl
from polars.datatypes import DataTypeClass

from operators.avro.compile import Record
from operators.avro.kinds import dtype_of
from operators.avro.resolve import Column, WireColumn
from operators.avro.wire import SchemaError

REST: Final = "_rest"
"""The column: JSON, keys in order, without nulls; null where nothing is left."""


class Rest:
    """What a writer's records have beside the fields that are `read`, by their places.

    `names` are the fields that are kept, and `lost` those of a type that is no column.
    """

    def __init__(self, writer: Record, read: set[int]) -> None:
        self._columns: list[Column] = []
        self.lost: list[str] = []
        for place, field in enumerate(writer.fields):
            if place in read:
                continue
            try:
                column = Column(field, dtype_of(field.wire, field.name), writer)
            except SchemaError:
                self.lost.append(field.name)
            else:
                self._columns.append(column)
        self._columns.sort(key=lambda column: column.name)
        self.names = [column.name for column in self._columns]

    @property
    def needed(self) -> set[int]:
        """Which of the writer's fields are kept."""
        return {each.source for each in self._columns if each.source is not None}

    def texts(self, columns: Sequence[WireColumn], height: int) -> pl.Series:
        """Return the column `REST`; `columns` are as of `Resolver.resolve`.

        Of a value that its type cannot hold, as a decimal of too many digits, nothing is kept.
        """
        found = [column.read(columns, height)[0] for column in self._columns]
        if not found or not height:
            return no_rest(height)
        pieces = [
            pl.when(pl.col(each.name).is_not_null()).then(
                # What is between the braces of an object of this field alone.
                pl.struct(_plain(pl.col(each.name), each.dtype).alias(each.name))
                .struct.json_encode()
                .str.slice(1)
                .str.strip_suffix("}")
            )
            for each in found
        ]
        inner = pl.concat_str(pieces, separator=",", ignore_nulls=True)
        some = pl.any_horizontal(pl.col(each.name).is_not_null() for each in found)
        text = pl.when(some).then(pl.concat_str(pl.lit("{"), inner, pl.lit("}")))
        return pl.DataFrame(found).select(text.alias(REST)).to_series()


def no_rest(height: int) -> pl.Series:
    """Return the column of records that have nothing beside their fields."""
    return _NONE.new_from_index(0, height)


_NONE: Final = pl.Series(REST, [None], pl.String())


def _plain(value: pl.Expr, dtype: pl.DataType | DataTypeClass) -> pl.Expr:
    """Return a value as JSON has one: bytes in base64, decimals and times as texts."""
    if isinstance(dtype, pl.List):
        return value.list.eval(_plain(pl.element(), dtype.inner))
    if isinstance(dtype, pl.Struct):
        fields = [
            _plain(value.struct.field(each.name), each.dtype).alias(each.name)
            for each in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("base64")
    if isinstance(dtype, pl.Datetime):
        return value.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f" + ("Z" if dtype.time_zone else ""))
    if isinstance(dtype, pl.Float32):
        return value.cast(pl.Float64())
    if isinstance(dtype, pl.Decimal | pl.Date):
        return value.cast(pl.String())
    return value
