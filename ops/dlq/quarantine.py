"""The quarantine tables as SQL sees them: of any release, each with its stream and its time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable, QueryBuilder

from flows.enforced.names import enforced_names, folder_of
from flows.stream_names import STREAM_NAMES, quarantine_of
from operators.connectors.delta.cuts import offsets_of
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.letters import ACTS, STATE, STATES, that_count, told_rows
from operators.connectors.delta.letters import PLACE as PLACE
from operators.connectors.delta.letters import quoted as quoted
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query, streamed
from operators.records.fingerprints import KIND, fingerprint, kind_of
from operators.records.tables import COORDINATES

if TYPE_CHECKING:
    from flows.streams import Stream

Place = tuple[str, int, int]


class QuarantineError(Exception):
    """What is asked for cannot be answered; the message says why."""


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of the stream of a name, whose rows SQL finds in `rows`.

    They have all of the table's columns, and those that it lacks as null, as a release before had
    made it; `stream`; `time`, Kafka's or, where a record has none, when it was written; the
    `replay` that has sent the record again, the `edit` that has changed it and the `discard` that
    has put it aside, if one has; and its `state`: open, edited, replayed or discarded.
    """

    name: str
    handle: DeltaTable
    acts: Mapping[str, DeltaTable] = field(default_factory=dict)

    @cached_property
    def stream(self) -> "Stream":
        """The stream, or the enforced topic; raises SettingsError for files that are wrong."""
        # Who counts rejects needs no more than its name, and declarations take a while to import.
        from ops.dlq.streams import named

        return named(self.name)

    def batches(self, sql: str) -> Iterator[pl.DataFrame]:
        """Yield the result of SQL as it comes; raises QuarantineError for what cannot run."""
        engine = QueryBuilder().register("written", self.handle)
        text = sql.lower()
        # Every row is looked up in what was done, so only where that is asked for.
        asked = [name for name in self.acts if name in text or STATE in text]
        try:
            for name in asked:
                engine = engine.register(f"acts_{name}", self.acts[name])
            rows = told_rows(self.name, columns_of(self.handle), asked)
            engine.execute(f"CREATE VIEW rows AS {rows}")
            yield from streamed(engine, sql)
        except Exception as error:  # the engine's are plain ones, whatever is wrong
            raise QuarantineError(str(error)) from error

    def query(self, sql: str) -> pl.DataFrame:
        """Return the result of SQL; its columns, if there are no rows, may be missing."""
        return pl.concat([*self.batches(sql)] or [pl.DataFrame()])

    def with_acts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return a few rows with `replay`, `edit`, `discard` and `state`; SQL looks up all."""
        offsets = rows["source_offset"].to_list()
        within = f"source_offset BETWEEN {min(offsets)} AND {max(offsets)}"
        for name, act in ACTS.items():
            kinds = {each: rows.schema[each] for each in act.by} | {name: pl.String()}
            done = pl.DataFrame(schema=kinds)
            if name in self.acts:
                sql = that_count(name, self.name, "rows", within)
                done = query(self.acts[name], f"SELECT {', '.join(kinds)} FROM ({sql})")  # noqa: S608 # our own
                done = done.select(pl.col(n).cast(kind) for n, kind in kinds.items())
            rows = rows.join(done, on=act.by, how="left", maintain_order="left")
            if "rule" in act.also:
                rows = rows.with_columns(
                    pl.when(pl.col("stage") != "rule").then(name).alias(name)
                )
        return rows.with_columns(pl.sql_expr(STATES).alias(STATE))

    def done(self) -> dict[str, dict[str, int]]:
        """Return by state and fingerprint how many rejects it is of, where none is discarded."""
        found = {}
        for name in ("edit", "replay"):
            found[name] = pl.DataFrame(schema={**dict(COORDINATES), "fingerprint": pl.String()})
            if name in self.acts:
                columns = ", ".join((*PLACE, "fingerprint"))
                columns += ", number, value IS NOT NULL AS stands" if name == "edit" else ""
                mine = f"stream = {quoted(self.name)}"
                rows = query(
                    self.acts[name],
                    f"SELECT {columns} FROM rows WHERE {mine}{self._there}",  # noqa: S608 # our own
                )
                if name == "edit":
                    # A window over texts took the engine ten times as long.
                    last = rows.sort("number", descending=True).unique(PLACE, keep="first")
                    rows = last.filter("stands").drop("number", "stands")
                found[name] = rows
        edited = found["edit"].join(found["replay"], on=PLACE, how="anti")
        states = {"replayed": found["replay"], "edited": edited, "discarded": edited.clear()}
        return {
            state: dict(rows["fingerprint"].value_counts().iter_rows())
            for state, rows in states.items()
        }

    @property
    def _there(self) -> str:
        """What else holds, as SQL, of acts on rows that retention has not deleted."""
        return "".join(
            f" AND NOT (source_topic = {quoted(topic)} AND source_partition = {partition} "
            f"AND source_offset <= {last})"
            for topic, of in offsets_of(self.handle).items()
            for partition, last in of.items()
        )

    def since(self, rows: int) -> str:
        """Return what holds of at least so many rows, the newest, as SQL; "true" of all.

        By statistics of the files alone, where each has them and each row has Kafka's time.
        """
        files = pl.DataFrame(self.handle.get_add_actions(flatten=True))
        least, lacking = "min.kafka_timestamp", "null_count.kafka_timestamp"
        if not {least, lacking} <= set(files.columns) or files[least].null_count():
            return "true"
        if files[lacking].null_count() or files[lacking].sum():
            return "true"
        newest = files.sort(least, descending=True)
        enough = newest.filter(pl.col("num_records").cum_sum() >= rows)
        if not enough.height:
            return "true"
        return f"kafka_timestamp >= TIMESTAMP {quoted(enough[least][0].isoformat())}"

    def lacking(self, where: str) -> pl.DataFrame:
        """Return the kinds of rows that have no fingerprint yet, each once, with theirs."""
        kinds = ", ".join(KIND)
        rows = self.query(
            f"SELECT DISTINCT {kinds} FROM rows WHERE fingerprint IS NULL AND ({where})"  # noqa: S608 # asked for
        )
        return with_fingerprints(self.name, rows) if rows.height else rows


def known_names() -> list[str]:
    """Return the names of all streams, and of the topics that are enforced here."""
    return [*STREAM_NAMES, *enforced_names()]


def open_quarantines(root: str, names: Iterable[str] | None) -> list[Quarantine]:
    """Return the quarantines of the named streams, or of all, that are there.

    Raises QuarantineError if none is, and SettingsError for a folder of topics that is none.
    """
    folder_of()
    some = [each for each in known_names() if names is None or each in names]
    acts = {
        name: DeltaTable(uri)
        for name, act in ACTS.items()
        if DeltaTable.is_deltatable(uri := table_uri(root, act.table))
    }
    found = []
    for name in some:
        uri = table_uri(root, quarantine_of(name))
        if DeltaTable.is_deltatable(uri):
            found.append(Quarantine(name, DeltaTable(uri), acts))
    if not found:
        tables = " or ".join(map(quarantine_of, some))
        raise QuarantineError(
            f"no table {tables} under {root}: run the flow, or name their folder with --root"
        )
    return found


def with_fingerprints(stream: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows, with the columns of `KIND`, with a fingerprint where they have none yet.

    `stream` is the name of theirs.
    """
    made = [fingerprint(kind_of(stream, *kind)) for kind in rows.select(KIND).iter_rows()]
    own = pl.Series("fingerprint", made, pl.String)
    if "fingerprint" in rows.columns:
        own = rows["fingerprint"].fill_null(own)
    return rows.with_columns(own)
