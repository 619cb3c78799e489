"""Pending: the rows of an epoch until they are committed, encoded by other threads as they come."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from operators.connectors.delta.encoding import GROUP_LEAST, GROUP_ROWS, Encoded, Encoder
from operators.connectors.delta.layout import laid_out
from operators.records.tables import STAMPS, Table, newest_of

_LIVE_S: Final = 1.0


@dataclass(frozen=True)
class Ready:
    """Rows to commit, as `write` takes them; `newest` is of the times that they are about, in s."""

    height: int
    newest: float | None
    content: pl.DataFrame | Sequence[Encoded]


class Pending:
    """Takes rows on a worker's thread; `ready` is for the thread that commits.

    All rows of an epoch are stamped with when the first of them came, which is behind the commit
    before. Those of a table whose rows are merged are kept as they are.
    """

    def __init__(
        self, table: Table, columns: pl.Schema, flow_version: str, pool: Executor
    ) -> None:
        """`columns` are the table's; what there is enough of is encoded by threads of the pool."""
        self._table, self._columns, self._pool = table, columns, pool
        self._flow_version = pl.lit(flow_version).alias("flow_version")
        self._encoder = Encoder(table, columns) if table.merging is None else None
        self.clear()

    def clear(self) -> None:
        """Begin another epoch."""
        self._frames: list[pl.DataFrame] = []
        self._waiting = self._height = 0
        self._newest: float | None = None
        self._began: datetime | None = None
        self._encoding: Future[None] | None = None
        self._encoded_at = time.monotonic()

    def __bool__(self) -> bool:
        return self._began is not None

    def take(self, rows: pl.DataFrame) -> None:
        """Take rows."""
        self._began = self._began or datetime.now(UTC)
        self._frames.append(rows)
        self._waiting += rows.height
        if self._waiting >= self._enough():
            self._begin(min(self._waiting, GROUP_ROWS))

    def hurry(self) -> None:
        """Let all rows that are there be encoded: until `ready` is called others are at work."""
        if self._waiting:
            self._begin(1)

    def _begin(self, least: int) -> None:
        if self._encoder is None:
            return
        frames, self._frames, self._waiting = self._frames, [], 0
        self._encoded_at = time.monotonic()
        self._encoding = self._pool.submit(
            self._encode, self._encoder, self._encoding, frames, least
        )

    def _enough(self) -> int:
        """Return how many rows are worth encoding now: of live records what a second brings."""
        return GROUP_LEAST if time.monotonic() - self._encoded_at > _LIVE_S else GROUP_ROWS

    def ready(self, more: Sequence[pl.DataFrame]) -> Ready:
        """Return all rows of the epoch, and `more`."""
        frames = [*self._frames, *more]
        content: pl.DataFrame | Sequence[Encoded]
        if self._encoder is None:
            content = self._stamped(frames)
        else:
            self._encode(self._encoder, self._encoding, frames)
            content = self._encoder.finish()
        return Ready(self._height, self._newest, content)

    def _encode(
        self,
        encoder: Encoder,
        before: Future[None] | None,
        frames: Sequence[pl.DataFrame],
        least: int | None = None,
    ) -> None:
        if before is not None:
            # It was submitted earlier, so some thread is at it, or done.
            before.result()
        if frames:
            encoder.add(laid_out(self._stamped(frames), self._columns), least)

    def _stamped(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        # Many small frames, as live records come in, would take ten times as long to encode.
        rows = pl.concat(frames, rechunk=True)
        self._height += rows.height
        times = (self._newest, newest_of(self._table, rows))
        self._newest = max((each for each in times if each is not None), default=None)
        written_at = pl.lit(self._began or datetime.now(UTC)).cast(STAMPS["written_at"])
        return rows.with_columns(self._flow_version, written_at.alias("written_at"))
