"""Versions: by which changes of lists and of thresholds events are decided."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import polars as pl

CHANGES: Final[Mapping[str, Literal["entry", "threshold"]]] = {
    "lists_change": "entry",
    "thresholds_change": "threshold",
}
"""The columns, with the kind of the changes that each is about."""

Versions: TypeAlias = Callable[[pl.DataFrame], Mapping[str, pl.Series]]
"""What tells, for each of n events and by column, the offset of the change that last began to hold.

Null where none has: there are no lists then, and thresholds are those of a file.
"""


def unchanged(events: pl.DataFrame) -> dict[str, pl.Series]:
    """Return what is told of events where nothing changes lists and thresholds."""
    none = pl.Series([None], dtype=pl.Int64()).new_from_index(0, events.height)
    return dict.fromkeys(CHANGES, none)
