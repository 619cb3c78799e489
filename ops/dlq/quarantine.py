"""The quarantine tables as SQL sees them: of any release, each with its stream and its time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from flows.streams import STREAMS, Stream
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.records.fingerprints import KIND, fingerprint, kind_of
from operators.records.tables import COORDINATES
from ops.dlq.tables import REPLAYS

PLACE: Final = ("source_topic", "source_partition", "source_offset")

_SQL_TYPES: Final[Mapping[Any, str]] = {pl.String: "VARCHAR", pl.Int32: "INT"}


def quoted(value: Any) -> str:
    """Return a value as a text of SQL, or NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


class QuarantineError(Exception):
    """What is asked for cannot be answered; the message says why."""


@dataclass(frozen=True)
class Quarantine:
    """A stream's quarantine, whose rows SQL finds in `rows`.

    They have all of the table's columns, and those that it lacks as null, as a release before had
    made it; `stream`; `time`, Kafka's or, where a record has none, when it was written; and the
    `replay` that has sent the record again, if one has.
    """

    stream: Stream
    handle: DeltaTable
    replays: DeltaTable | None = None

    def batches(self, sql: str) -> Iterator[pl.DataFrame]:
        """Yield the result of SQL as it comes; raises QuarantineError for what cannot run."""
        engine = QueryBuilder().register("written", self.handle)
        try:
            # Every row is looked up in the replays, so only where that is asked for.
            replays = self.replays if "replay" in sql.lower() else None
            if replays is not None:
                engine = engine.register("replays", replays)
            rows = self._rows(joined=replays is not None)
            engine.execute(f"CREATE VIEW rows AS {rows}")
            for batch in engine.execute(sql):
                found = pl.from_arrow(pa.record_batch(batch))
                assert isinstance(found, pl.DataFrame)  # noqa: S101 # a batch's is
                yield found
        except Exception as error:  # the engine's are plain ones, whatever is wrong
            raise QuarantineError(str(error)) from error

    def query(self, sql: str) -> pl.DataFrame:
        """Return the result of SQL; its columns, if there are no rows, may be missing."""
        return pl.concat([*self.batches(sql)] or [pl.DataFrame()])

    def _rows(self, *, joined: bool) -> str:
        there = columns_of(self.handle)
        found = [f'w."{name}"' for name in there if name not in ("stream", "time", "replay")]
        for name, kind in self.stream.quarantine.schema.items():
            if name not in there:
                found.append(f"CAST(NULL AS {_SQL_TYPES[type(kind)]}) AS {name}")
        own = f"'{self.stream.name}'"
        found += [f"{own} AS stream", "coalesce(w.kafka_timestamp, w.written_at) AS time"]
        if not joined:
            return (
                f"SELECT {', '.join(found)}, CAST(NULL AS VARCHAR) AS replay FROM written AS w"  # noqa: S608 # our own
            )
        same = " AND ".join(f"w.{name} = r.{name}" for name in PLACE)
        return (
            f"SELECT {', '.join(found)}, r.replay FROM written AS w LEFT JOIN "  # noqa: S608 # our own
            f"(SELECT * FROM replays WHERE stream = {own}) AS r ON {same} AND w.stage <> 'rule'"
        )

    def with_replays(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return a few rows with the column `replay`, which SQL would look up for all."""
        nothing = pl.DataFrame(schema={**COORDINATES, "replay": pl.String()})
        if self.replays is not None and rows.height:
            offsets = rows["source_offset"].to_list()
            within = f"source_offset BETWEEN {min(offsets)} AND {max(offsets)}"
            mine = f"stream = {quoted(self.stream.name)} AND {within}"
            nothing = read(self.replays, nothing.schema, mine)
        found = rows.join(nothing, on=PLACE, how="left", maintain_order="left")
        refused = pl.col("stage") != "rule"
        return found.with_columns(replay=pl.when(refused).then("replay"))

    def lacking(self, where: str) -> pl.DataFrame:
        """Return the kinds of rows that have no fingerprint yet, each once, with theirs."""
        kinds = ", ".join(KIND)
        rows = self.query(
            f"SELECT DISTINCT {kinds} FROM rows WHERE fingerprint IS NULL AND ({where})"  # noqa: S608 # asked for
        )
        return with_fingerprints(self.stream, rows) if rows.height else rows


def open_quarantines(root: str, names: Iterable[str] | None) -> list[Quarantine]:
    """Return the quarantines of the named streams, or of all, that are there.

    Raises QuarantineError if none is.
    """
    streams = [each for each in STREAMS if names is None or each.name in names]
    sent = table_uri(root, REPLAYS.name)
    replays = DeltaTable(sent) if DeltaTable.is_deltatable(sent) else None
    found = []
    for stream in streams:
        uri = table_uri(root, stream.quarantine.name)
        if DeltaTable.is_deltatable(uri):
            found.append(Quarantine(stream, DeltaTable(uri), replays))
    if not found:
        tables = " or ".join(stream.quarantine.name for stream in streams)
        raise QuarantineError(
            f"no table {tables} under {root}: run the flow, or name their folder with --root"
        )
    return found


def with_fingerprints(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows, with the columns of `KIND`, with a fingerprint where they have none yet."""
    made = [fingerprint(kind_of(stream.name, *kind)) for kind in rows.select(KIND).iter_rows()]
    own = pl.Series("fingerprint", made, pl.String)
    if "fingerprint" in rows.columns:
        own = rows["fingerprint"].fill_null(own)
    return rows.with_columns(own)
