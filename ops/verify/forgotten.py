"""What was forgotten, so that what is left is compared with what it was made of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from deltalake import DeltaTable, QueryBuilder

from operators.columns.times import in_micros
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.records.tables import COORDINATES
from ops.dlq.quarantine import quoted
from ops.forget.ledger import FORGOTTEN, forgotten
from ops.verify.report import Check

_PLACE = ["source_partition", "source_offset"]
_KEPT = (*COORDINATES, "event_time")


def place_of(id_: str) -> tuple[int, int] | None:
    """Return partition and offset of the record that a message is of, by its id, if it is ours."""
    _, *place = id_.rsplit("/", 2)
    if len(place) < 2 or not all(each.isdecimal() for each in place):
        return None
    return int(place[0]), int(place[1])


@dataclass(frozen=True)
class Forgotten:
    """The records of a stream that were forgotten, with `place` and `event_time`."""

    root: str
    stream: str
    rows: pl.DataFrame

    @classmethod
    def of(cls, root: str, stream: str) -> "Forgotten":
        """Return those of a stream; raises StorageUnavailableError."""
        return cls(root, stream, forgotten(root, stream))

    def __bool__(self) -> bool:
        return self.rows.height > 0

    @cached_property
    def _places(self) -> set[tuple[int, int]]:
        return set(self.rows.select(_PLACE).iter_rows())

    def has(self, id_: str) -> bool:
        """Tell whether a message is of one of them, by its id, which ends in its coordinates."""
        return place_of(id_) in self._places

    def without(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows whose records were not forgotten."""
        return rows.join(self.rows, on=_PLACE, how="anti") if self else rows

    def check(self, tables: dict[str, pl.DataFrame]) -> list[Check]:
        """Check that tables, by their names, have no record that was forgotten."""
        if not self:
            return []
        found = [
            rows.select(*_PLACE, table=pl.lit(name)).join(self.rows, on=_PLACE, how="semi")
            for name, rows in tables.items()
        ]
        name = f"no record of {self.stream} that was forgotten is in a table"
        return [Check.of(name, self.rows.height, pl.concat(found))]

    def register(self, engine: QueryBuilder, side: str, silver: DeltaTable) -> QueryBuilder:
        """Have an engine know silver by the name `side`.

        What was forgotten is there as well, marked in `forgotten`, with nothing but its place and
        its event time: it has made watermarks.
        """
        if not self:
            return engine.register(side, silver)
        ledger = DeltaTable(table_uri(self.root, FORGOTTEN.name))
        engine = engine.register(f"{side}_there", silver).register(f"{side}_gone", ledger)
        names = [name for name in columns_of(silver) if name not in _KEPT]
        there = ", ".join(_KEPT + tuple(f'"{name}"' for name in names))
        gone = ", ".join(_KEPT + ("NULL",) * len(names))
        engine.execute(
            f"CREATE VIEW {side} AS SELECT {there}, false AS forgotten FROM {side}_there "  # noqa: S608 # our own words
            f"UNION ALL SELECT DISTINCT {gone}, true FROM {side}_gone "
            f"WHERE stream = {quoted(self.stream)} AND place = 'silver'"
        )
        return engine

    def excused(
        self, expected: pl.DataFrame, actual: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """Return windows, expected and there, without those that differ and had counted any.

        Returns how many there are of these as well.
        """
        if not self:
            return expected, actual, 0
        names = expected.columns
        times = np.sort(in_micros(self.rows["event_time"].drop_nulls()))
        left = []
        for rows, others in ((expected, actual), (actual, expected)):
            numbered = rows.with_row_index("_row")
            same = numbered.join(others, on=names, how="semi", nulls_equal=True)["_row"]
            begin, end = (in_micros(rows[f"window_{each}"]) for each in ("start", "end"))
            counted = np.searchsorted(times, begin) < np.searchsorted(times, end)
            keep = numbered["_row"].is_in(same.implode()) | ~pl.Series(counted)
            left.append(rows.filter(keep))
        return left[0], left[1], actual.height - left[1].height
