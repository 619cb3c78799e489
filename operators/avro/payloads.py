"""Payloads: a batch's values, one by one and end to end."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s

_PADDING = bytes(32)


class Payloads(NamedTuple):
    """Values as consumed, and the bytes of all of them in one array.

    Value i is ``data[starts[i]:ends[i]]``, nothing for a null; 32 zeros stand behind the last.
    """

    values: list[bytes | None]
    data: npt.NDArray[np.uint8]
    starts: Int64s
    ends: Int64s

    @classmethod
    def of(cls, values: Sequence[bytes | None], column: pl.Series | None = None) -> Self:
        """Lay values end to end; `column` are the same as Binary, if somebody has them."""
        # A list, as pyruhvro takes no other sequence.
        values = values if isinstance(values, list) else list(values)
        if column is None:
            column = pl.Series(values, dtype=pl.Binary())
        padded = pl.concat([column, pl.Series(column.name, [_PADDING])])
        arrow = padded.to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, data = arrow.buffers()
        bounds = np.frombuffer(offsets, np.int64)[arrow.offset : arrow.offset + len(values) + 1]
        starts, ends = bounds[:-1], bounds[1:]
        if column.null_count():
            # Whatever bytes it has where a null is.
            ends = np.where(column.is_null().to_numpy(), starts, ends)
        return cls(values, np.frombuffer(data, np.uint8), starts, ends)


class Group(NamedTuple):
    """Records whose bodies begin alike: their rows, ascending, and how many bytes before it."""

    rows: Int64s
    skip: int
