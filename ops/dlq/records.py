"""Records: those that filters pick, newest first, and all about one of them."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from operators.avro import Lookup
from operators.avro.explain import Explained
from operators.avro.framing import Headers
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.privacy import KEY_ID, RECORD
from operators.records.fingerprints import KIND
from ops.dlq.filters import Filters
from ops.dlq.quarantine import (
    PLACE,
    Place,
    Quarantine,
    QuarantineError,
    quoted,
    with_fingerprints,
)
from ops.dlq.streams import Explains, explainer_of
from ops.sealed import decrypted

MARKS: Final = ("state", "replay", "edit", "discard")
"""What became of a reject."""
COLUMNS: Final = (
    *PLACE, "time", "stream", "fingerprint", *KIND, "attempts", "kafka_timestamp", "flow_version",
    "written_at", *MARKS,
)  # fmt: skip
"""What is told of a reject: no part of its record."""
_FEW: Final = 4
_MANY: Final = 1_000
_ORDER: Final = ("time", *PLACE)


@dataclass(frozen=True)
class Sought:
    """What is looked for in decoded fields: a text anywhere, or the event's id as a whole."""

    contains: str | None = None
    id: str | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Sought":
        """Return what the options of a command say."""
        return cls(args.contains, args.id)

    def __bool__(self) -> bool:
        return self.contains is not None or self.id is not None

    def prefiltered(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows without those that surely have not what is sought."""
        # Texts lie in Avro as they are: whoever has the id has its bytes.
        return rows if self.id is None else rows.filter(
            pl.col("value").bin.contains(self.id.encode()).fill_null(value=False)
        )  # fmt: skip

    def found_in(self, record: dict[str, Any] | None, id_field: str) -> bool:
        """Tell whether the fields that could be decoded have it."""
        if record is None or (self.id is not None and record.get(id_field) != self.id):
            return False
        return self.contains is None or _has(record, self.contains.casefold())


def _has(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_has(each, text) for each in value.values())
    if isinstance(value, list):
        return any(_has(each, text) for each in value)
    return value is not None and text in str(value).casefold()


def newest(
    quarantines: list[Quarantine],
    filters: Filters,
    limit: int,
    sought: Sought,
    lookup: Callable[[], Lookup],
    told: Callable[[int], None] = lambda _: None,
) -> pl.DataFrame:
    """Return the newest rejects, with `COLUMNS`; `told` hears how many were looked into.

    `lookup` gives what finds schemas, where any is needed.
    """
    frames = []
    for each in quarantines:
        if sought:
            rows = _searched(each, filters, limit, sought, lookup(), told)
        else:
            rows = _newest(each, filters, limit)
        if rows.height:
            frames.append(with_fingerprints(each.stream, rows))
    if not frames:
        return pl.DataFrame()
    return pl.concat(frames).sort(_ORDER, descending=True).head(limit)


def _newest(quarantine: Quarantine, filters: Filters, limit: int) -> pl.DataFrame:
    if filters.discarded is False and "discard" in quarantine.acts:
        # Most likely they are among a few: to look all rows up takes as long as millions do.
        few = _first(quarantine, replace(filters, discarded=None), _FEW * limit)
        kept = few.filter(pl.col("discard").is_null()) if few.height else few
        if kept.height >= limit or few.height < _FEW * limit:
            return kept.head(limit)
    return _first(quarantine, filters, limit)


def _first(quarantine: Quarantine, filters: Filters, limit: int) -> pl.DataFrame:
    columns = ", ".join(name for name in COLUMNS if name not in MARKS)
    condition = filters.condition(quarantine)

    def found(where: str) -> pl.DataFrame:
        return quarantine.query(
            f"SELECT {columns} FROM rows WHERE ({condition}) AND {where} "  # noqa: S608 # asked for
            f"ORDER BY {', '.join(f'{name} DESC' for name in _ORDER)} LIMIT {limit}"
        )

    # Most likely they are in the newest files: to look at all takes as long as all rows do.
    since = quarantine.since(_MANY * limit)
    rows = found(since)
    if rows.height < limit and since != "true":
        rows = found("true")
    return quarantine.with_acts(rows).select(COLUMNS) if rows.height else rows


def _searched(
    quarantine: Quarantine,
    filters: Filters,
    limit: int,
    sought: Sought,
    lookup: Lookup,
    told: Callable[[int], None],
) -> pl.DataFrame:
    kept = pl.DataFrame()
    for rows in matching(quarantine, filters, sought, lookup, told):
        kept = pl.concat([kept, rows.select(COLUMNS)] if kept.width else [rows.select(COLUMNS)])
        kept = kept.sort(_ORDER, descending=True).head(limit)
    return kept


def matching(
    quarantine: Quarantine,
    filters: Filters,
    sought: Sought,
    lookup: Lookup,
    told: Callable[[int], None] = lambda _: None,
) -> Iterator[pl.DataFrame]:
    """Yield frames of the rejects that are meant, with `COLUMNS` and `RECORD`, in no order."""
    columns = ", ".join((*COLUMNS, *quarantine.record))
    explainer, done = explainer_of(quarantine.stream, lookup), 0
    sql = f"SELECT {columns} FROM rows WHERE {filters.condition(quarantine)}"  # noqa: S608 # asked for
    for rows in quarantine.batches(sql):
        done += rows.height
        rows = decrypted(rows)
        if sought:
            rows = sought.prefiltered(rows)
            records = [each.record for each in explained(rows, explainer)]
            own = quarantine.stream.id
            rows = rows.filter(
                pl.Series([sought.found_in(each, own) for each in records], dtype=pl.Boolean)
            )
        if rows.height:
            yield rows
        told(done)


def count(quarantines: list[Quarantine], filters: Filters) -> int:
    """Return how many rejects are meant."""
    return sum(
        each.query(f"SELECT count(*) AS n FROM rows WHERE {filters.condition(each)}").item()  # noqa: S608 # asked for
        for each in quarantines
    )


def hexed(value: bytes | None) -> str | None:
    """Return bytes as JSON has them."""
    return None if value is None else value.hex()


def headers_of(row: dict[str, Any]) -> Headers:
    """Return the headers of a row as the decoder takes them."""
    return [(each["key"], each["value"]) for each in row["headers"] or ()]


def explained(rows: pl.DataFrame, explainer: Explains) -> list[Explained]:
    """Explain the value of each row, with `RECORD`."""
    headers = [headers_of(row) for row in rows.select("headers").iter_rows(named=True)]
    return explainer.explain(rows["value"].to_list(), headers)


def name_of(row: Mapping[str, Any]) -> str:
    """Return what a row's record is called, as `parse_place` takes it."""
    return "/".join(str(row[name]) for name in PLACE)


def at(place: Place) -> str:
    """Return what holds of the rows of one record, as SQL."""
    return " AND ".join(
        f"{name} = {quoted(value) if isinstance(value, str) else value}"
        for name, value in zip(PLACE, place, strict=True)
    )


def find(root: str, quarantines: list[Quarantine], place: Place) -> list[dict[str, Any]]:
    """Return the rejects of one record, one for each reason, with `COLUMNS` and `RECORD`.

    What bronze alone has of the record is filled in, what is encrypted decrypted. Raises
    QuarantineError if there is none, and NoKeyError.
    """
    where = at(place)
    for each in quarantines:
        columns = ", ".join((*COLUMNS, *each.record))
        rows = each.query(f"SELECT {columns} FROM rows WHERE {where} ORDER BY code")  # noqa: S608 # quoted
        if rows.height:
            found = with_fingerprints(each.stream, decrypted(rows)).to_dicts()
            for row in found:
                if row["stage"] == "rule" and each.stream.alone:
                    row.update(_ingested(root, each, where))
            return found
    raise QuarantineError(
        f"no reject of {'/'.join(map(str, place))}; list shows which there are"
    )


def _ingested(root: str, quarantine: Quarantine, where: str) -> dict[str, Any]:
    """Return what bronze has of a record that passed decoding; nothing if that is gone."""
    table = quarantine.stream.bronze
    uri = table_uri(root, table.name)
    if not DeltaTable.is_deltatable(uri):
        return {}
    try:
        kinds = {n: table.columns[n] for n in (*PLACE, *RECORD)} | {KEY_ID: pl.String()}
        rows = read(DeltaTable(uri), kinds, where)
    except DeltaError as error:
        raise QuarantineError(f"{table.name}: {error}") from error
    return decrypted(rows).select(RECORD).row(0, named=True) if rows.height else {}
