"""What checks of a flow that joins streams share: its records with the watermarks it saw.

DataFusion, which the deltalake package carries, reads the files and runs the SQL.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from flows.settings import Settings
from flows.streams import Stream
from flows.tables import bounds
from operators.columns.durations import micros
from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.definitions import history
from operators.connectors.delta.table import Fence
from operators.connectors.kafka.client import wait_for_partitions
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once
from ops.verify.statements import but_forgotten
from ops.verify.topics import PLACE

_PLACE: Final = list(PLACE)

# A record is late for the join if its time plus the lateness is before its own partition's
# watermark just before it.
_LATE: Final = """
SELECT source_topic, source_partition, source_offset FROM ({side})
WHERE event_time + INTERVAL '{lateness} microseconds' < derived{more}
"""

# The records that count: all but those that were late.
_COUNTED: Final = """
SELECT s.* FROM {side} AS s LEFT ANTI JOIN late AS l
    ON s.source_topic = l.source_topic AND s.source_partition = l.source_partition
    AND s.source_offset = l.source_offset
"""


class Joined:
    """The streams that a flow joins, each with its silver, and an engine that knows them.

    Silver need not be the flow's own, so neither need the watermarks in it: each flow has its own
    places where the out-of-orderness changed. The flow's are those that `teller` tells, one of its
    tables; `late` is its table of late records.
    """

    def __init__(
        self,
        settings: Settings,
        silver: Mapping[str, tuple[Stream, DeltaTable]],
        teller: DeltaTable,
        late: DeltaTable,
    ) -> None:
        self.settings = settings
        self.lateness = micros(settings.allowed_lateness)
        self._streams = {name: stream for name, (stream, _) in silver.items()}
        self._told = history(teller)
        self.gone = {name: Forgotten.of(settings.delta_root, name) for name in silver}
        self._engine = QueryBuilder().register("late", late)
        for name, (_, table) in silver.items():
            self._engine = self.gone[name].register(self._engine, name, table)

    def register(self, name: str, table: DeltaTable) -> None:
        """Have the engine know a table by a name."""
        self._engine = self._engine.register(name, table)

    def derived(self, side: str, *more: str) -> str:
        """Return the query for a side's records with the watermark that the flow had before each.

        `more` are columns of silver's.
        """
        own = self.settings.of(self._streams[side])
        bound = bounds(self._told, own.topic, micros(own.out_of_orderness))
        columns = [*_PLACE, "event_time", "watermark", *more]
        return but_forgotten(side, columns, bound, some=bool(self.gone[side]))

    def counted(self, side: str) -> str:
        """Return the query for a side's records that count."""
        kept = f"(SELECT * FROM {side} WHERE NOT forgotten)" if self.gone[side] else side  # noqa: S608
        return _COUNTED.format(side=kept)

    def query(
        self, sql: str, made: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows
    ) -> pl.DataFrame:
        """Run SQL; `made` is applied to each batch of its rows."""
        reader = self._engine.execute(sql)
        # No batch may come at all.
        frames = [made(_frame(pa.schema(reader.schema).empty_table()))]
        frames += [made(_frame(pa.record_batch(batch))) for batch in reader]
        return pl.concat(frames)

    def watermark(self, flow: str, table: DeltaTable) -> int:
        """Return the watermark in µs up to which a table of the flow has all rows."""
        topics = [
            (topic, partition)
            for topic in (self.settings.of(each).topic for each in self._streams.values())
            for partition in wait_for_partitions(self.settings.kafka, topic, 10)
        ]
        return recorded(table, Fence(flow, topics)).watermark

    def check_late(self, name: str, without: Mapping[str, str] = MappingProxyType({})) -> Check:
        """Check the late records; those of a side `without` a value in a column take no part."""
        place = ["source_topic", *_PLACE]
        sides = []
        for side in self._streams:
            column = without.get(side)
            derived = self.derived(side, *([column] if column else []))
            more = f" AND {column} IS NOT NULL" if column else ""
            sides.append(_LATE.format(side=derived, lateness=self.lateness, more=more))
        expected = self.query(" UNION ALL ".join(sides))
        there = self.query(f"SELECT {', '.join(place)}, event_time, watermark FROM late")  # noqa: S608
        # A partition that was idle while the others went on is judged by the flow's watermark,
        # which the table records: such a row must be late by that.
        missed = pl.col("watermark") > pl.col("event_time") + pl.duration(
            microseconds=self.lateness
        )
        woken = there.join(expected, on=place, how="anti").filter(missed)
        return only_once(name, pl.concat([expected, woken.select(place)]), there)

    def check_rows(
        self,
        name: str,
        made: str,
        table: str,
        schema: Mapping[str, pl.DataType],
        until: int,
    ) -> Check:
        """Compare the rows that SQL has `made` with a table's, as far as they are settled.

        `schema` are its columns, `until` is the watermark in µs that it has come to.
        """

        def hashed(rows: pl.DataFrame) -> pl.DataFrame:
            row = rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
            return row.select(*_PLACE, "settled_at", row_hash=row.hash_rows())

        # What waits for the watermark is not there yet.
        due = pl.col("settled_at").dt.epoch("us") + self.lateness <= until
        expected = self.query(made, hashed).filter(due).drop("settled_at")
        actual = self.query(f"SELECT {', '.join(schema)} FROM {table}", hashed)  # noqa: S608
        return only_once(name, expected, actual)


def _frame(rows: Any) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(rows))
    times = pl.selectors.datetime().cast(pl.Datetime("us"))
    return frame.with_columns(times.dt.replace_time_zone("UTC"))
