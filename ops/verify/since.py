"""Since: which rows today's definitions can be held to, by what the tables tell of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flows.tables import aggregate
from operators.connectors.delta.definitions import History, Told
from operators.records.batches import NO_WATERMARK


def since(told: Sequence[Told] | None, text: str, topic: str) -> dict[int, int] | None:
    """Return by partition the offset up to which rows may be made by another text, inclusive.

    None if no row is made by this one yet. What tells nothing was never another.
    """
    if not told:
        return {}
    return told[-1].of(topic) if told[-1].text == text else None


def since_aggregates(told: History) -> dict[str, int]:
    """Return the aggregates that a table has not had from its beginning, and since when, in µs."""
    return {
        name.removeprefix(aggregate("")): each[-1].watermark
        for name, each in told.items()
        if name.startswith(aggregate("")) and each[-1].watermark != NO_WATERMARK
    }


@dataclass(frozen=True)
class Compared:
    """From where on alerts can be held to their rules: by rule, what `since` says of it."""

    rules: Mapping[str, Mapping[int, int] | None]

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with `rule_id` and their place that can be; unknown rules' can."""
        older = pl.lit(value=False)
        for name, last in self.rules.items():
            mine = pl.col("rule_id") == name
            if last is None:
                older |= mine
            for partition, offset in (last or {}).items():
                place = pl.col("source_partition") == partition
                older |= mine & place & (pl.col("source_offset") <= offset)
        return rows.filter(~older)
