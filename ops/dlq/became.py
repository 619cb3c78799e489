"""What became of rejects that were sent again: where they are now, and in which table."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from operators.connectors.delta.acts import SENT
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read, streamed
from operators.records.tables import COORDINATES, Table
from ops.dlq.headers import REPLAY_HEADER, origin_of
from ops.dlq.quarantine import PLACE, Place, QuarantineError, quoted
from ops.dlq.records import headers_of

if TYPE_CHECKING:
    from flows.streams import Stream

NOWHERE: Final = "in no table yet"


def tell(root: str, rows: list[dict[str, Any]]) -> None:
    """Tell of a few rejects with a replay `sent_as`, its record now, and what that `became`.

    Both are None where nothing was sent, or its replay is not done. Raises QuarantineError.
    """
    for row in rows:
        row |= {"sent_as": None, "became": None}
    sent = [row for row in rows if row["replay"]]
    for name in dict.fromkeys(row["stream"] for row in sent):
        mine = [row for row in sent if row["stream"] == name]
        now = _now(root, mine)
        if now:
            # Few are asked for: what declares streams takes a while to import.
            from ops.dlq.streams import named

            found = became(root, named(name), now.values())
            outcomes = {row[:3]: row[3] for row in found.iter_rows()}
            for row in mine:
                place = now.get(_place(row))
                if place is not None:
                    row["sent_as"], row["became"] = "/".join(map(str, place)), outcomes[place]


def _place(row: dict[str, Any]) -> Place:
    return row["source_topic"], row["source_partition"], row["source_offset"]


def _now(root: str, rows: list[dict[str, Any]]) -> dict[Place, Place]:
    """Return where the records of some rejects are now, by where they came from."""
    places = pl.DataFrame([_place(row) for row in rows], schema=dict(COORDINATES), orient="row")
    found = _rows(root, SENT, places, ("sent_partition", "sent_offset"))
    return {row[:3]: (row[0], *row[3:]) for row in found.iter_rows()}


def became(root: str, stream: "Stream", places: Collection[Place]) -> pl.DataFrame:
    """Return where records are, by their coordinates, as `outcome`.

    That is silver, duplicate, refused with the reason, or `NOWHERE`. Raises QuarantineError.
    """
    sent = pl.DataFrame(list(places), schema=dict(COORDINATES), orient="row").sort(PLACE)
    refused = _rows(root, stream.quarantine, sent, ("stage", "code"))
    told = pl.format("refused: {} {}", "stage", "code")
    frames = [
        refused.select(*PLACE, outcome=told),
        _rows(root, stream.silver, sent).with_columns(outcome=pl.lit("silver")),
    ]
    if (repeated := stream.ledger.repeated) is not None:
        duplicates = _rows(root, repeated, sent)
        frames.append(duplicates.with_columns(outcome=pl.lit("duplicate")))
    # Refused stands first: that a rule failed on it is what there is to tell.
    first = pl.concat(frames).unique(PLACE, keep="first", maintain_order=True)
    return sent.join(first, on=PLACE, how="left", maintain_order="left").with_columns(
        pl.col("outcome").fill_null(NOWHERE)
    )


def read_and_gone(
    root: str, stream: "Stream", replay: str, spans: Mapping[tuple[str, int], tuple[int, int]]
) -> dict[Place, Place]:
    """Return where records were that a replay has sent, by where they came from, as bronze has it.

    Looked at are offsets from and up to, by topic and partition, which the topic has no more. A
    stream that has no bronze tells of none. Raises QuarantineError.
    """
    uri, found = table_uri(root, stream.bronze.name), dict[Place, Place]()
    if not (spans and stream.alone and DeltaTable.is_deltatable(uri)):
        return found
    engine = QueryBuilder().register("rows", DeltaTable(uri))
    mine = pl.element().struct.field("key") == REPLAY_HEADER
    for (topic, partition), (first, last) in spans.items():
        sql = (
            "SELECT source_offset, headers FROM rows "  # noqa: S608 # quoted
            f"WHERE source_topic = {quoted(topic)} AND source_partition = {partition} "
            f"AND source_offset >= {first} AND source_offset < {last}"
        )
        try:
            for batch in streamed(engine, sql):
                rows = batch.filter(pl.col("headers").list.eval(mine).list.any())
                for row in rows.iter_rows(named=True):
                    headers = {n: value for n, value in headers_of(row) if value is not None}
                    if (origin := origin_of(headers, replay)) is not None:
                        found[origin] = topic, partition, row["source_offset"]
        except DeltaError as error:
            raise QuarantineError(f"{stream.bronze.name}: {error}") from error
    return found


def _rows(
    root: str, table: Table, sent: pl.DataFrame, more: tuple[str, ...] = ()
) -> pl.DataFrame:
    columns = {name: table.schema[name] for name in (*PLACE, *more)}
    uri, frames = table_uri(root, table.name), [pl.DataFrame(schema=columns)]
    if not DeltaTable.is_deltatable(uri):
        return frames[0]
    handle = DeltaTable(uri)
    for (topic, partition), mine in sent.group_by(PLACE[:2]):
        offsets = ", ".join(map(str, mine["source_offset"]))
        where = (
            f"source_topic = {quoted(topic)} AND source_partition = {partition} "
            f"AND source_offset IN ({offsets})"
        )
        try:
            rows = read(handle, columns, where)
            frames.append(rows.select(pl.col(n).cast(kind) for n, kind in columns.items()))
        except DeltaError as error:
            raise QuarantineError(f"{table.name}: {error}") from error
    return pl.concat(frames)
