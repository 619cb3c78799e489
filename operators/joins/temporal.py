"""Temporal join: each row with its key's version as of the row's event time."""

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from operators.columns.arrays import Int64s
from operators.joins.spec import SETTLED, Joined, TemporalJoin
from operators.joins.versions import Versions
from operators.records.batches import Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import HASH, TIME_US
from operators.state.reordering import Reordering
from operators.state.shards import Composite, Sharded


class OpenVersions(Composite):
    """The versions of one key group that rows to come may ask for, and rows not yet settled.

    Per key the newest version passed by the watermark is kept and all later ones.
    """

    VERSION: ClassVar = 4

    def __init__(
        self,
        join: TemporalJoin,
        partitions: Mapping[str, int],
        versions: pl.DataFrame | None = None,
    ) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads.

        `versions` are keyed rows that are known from the start, such as a Delta table's; they
        become part of the state, so a resumed flow goes on with those it began with.
        """
        self._join = join
        topics = join.left.topic, join.right.topic
        self.reordering = Reordering(partitions, topics, join.lateness)
        self._versions = Versions(join.versions)
        self.reordering.add([], None, versions)

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What has rows."""
        return {"arrivals": self.reordering, "versions": self._versions}

    @property
    def rows(self) -> int:
        """How many rows and versions are kept."""
        return len(self.reordering) + len(self._versions)

    def advance(
        self, progress: list[Progress], left: pl.DataFrame | None, right: pl.DataFrame | None
    ) -> Joined:
        """Add keyed rows and versions, take the progress, and emit what is settled.

        `right` is made by `TemporalJoin.versions.rows`. Neither must be late by its own
        partition's watermark.
        """
        late = self.reordering.add(progress, left, right)
        return Joined(self._settle(), late)

    def _settle(self) -> pl.DataFrame | None:
        passed = self.reordering.passed()
        if passed is None:
            return None
        _, (rows, versions) = passed
        if versions is not None:
            self._versions.append(versions)
        result = None if rows is None else self._results(rows)
        # No row before the watermark will come, so nobody asks for what was over by then.
        self._versions.tidy()
        return result

    def _results(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        times: Int64s = rows[TIME_US].to_numpy()
        keys = rows.select(*self._join.left.keys)
        found, known = self._versions.as_of(rows[HASH].to_numpy(), times, keys)
        # By (time, partition, offset), as they were taken.
        result = pl.concat(
            [rows.select(*self._join.left.columns), found], how="horizontal"
        ).with_columns(pl.Series(SETTLED, times + 1).cast(TIME))
        if self._join.how == "inner":
            result = result.filter(pl.Series(known))
        return result.select(*self._join.schema) if result.height else None
