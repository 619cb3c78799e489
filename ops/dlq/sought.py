"""What is sought in decoded fields, of the rejects that filters pick."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from flows.enforced.topic import Enforced
from flows.streams import Stream
from operators.avro import Lookup
from operators.avro.explain import Explained
from ops.dlq.filters import Filters
from ops.dlq.quarantine import Quarantine, QuarantineError
from ops.dlq.records import COLUMNS, headers_of, in_order, merged
from ops.dlq.streams import Explains, explainer_of, id_of
from ops.sealed import SEALED, decrypted


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

    def prefiltered(self, rows: pl.DataFrame, stream: Stream) -> pl.DataFrame:
        """Return rows without those that surely have not what is sought."""
        # A stream's ids are texts, which lie in Avro as they are: whoever has one has its bytes. An
        # enforced topic's may be numbers, and texts in JSON may be written in other ways.
        if self.id is None or isinstance(stream, Enforced):
            return rows
        has = pl.col("value").bin.contains(self.id.encode())
        return rows.filter(has.fill_null(value=False))

    def found_in(self, record: dict[str, Any] | None, id_field: str) -> bool:
        """Tell whether the fields that could be decoded have it."""
        if record is None:
            return False
        if self.id is not None and str(record.get(id_field)) != self.id:
            return False
        return self.contains is None or _has(record, self.contains.casefold())


def _has(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_has(each, text) for each in value.values())
    if isinstance(value, list):
        return any(_has(each, text) for each in value)
    return value is not None and text in str(value).casefold()


def newest_with(
    quarantines: list[Quarantine],
    filters: Filters,
    limit: int,
    sought: Sought,
    lookup: Lookup,
    told: Callable[[int], None] = lambda _: None,
) -> pl.DataFrame:
    """Return the newest rejects that have what is sought; `told` hears how many were looked into.

    They have `COLUMNS`; `lookup` finds schemas.
    """
    found = ((q, _searched(q, filters, limit, sought, lookup, told)) for q in quarantines)
    return merged(found, limit)


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
        kept = in_order(kept, limit)
    return kept


def matching(
    quarantine: Quarantine,
    filters: Filters,
    sought: Sought,
    lookup: Lookup,
    told: Callable[[int], None] = lambda _: None,
) -> Iterator[pl.DataFrame]:
    """Yield frames of the rejects that are meant, with `COLUMNS` and `RECORD`, in no order.

    Raises QuarantineError.
    """
    own = id_of(quarantine.stream)
    if sought.id is not None and not own:
        raise QuarantineError(
            f"--id: which field of {quarantine.name} is its id is not declared: state it as `id` "
            "in its contract.yaml, look into all fields with --contains, or name another --stream"
        )
    columns = ", ".join((*COLUMNS, *SEALED))
    explainer, done = explainer_of(quarantine.stream, lookup), 0
    sql = f"SELECT {columns} FROM rows WHERE {filters.condition(quarantine)}"  # noqa: S608 # asked for
    for rows in quarantine.batches(sql):
        done += rows.height
        rows = decrypted(rows)
        if sought:
            rows = sought.prefiltered(rows, quarantine.stream)
            records = [each.record for each in explained(rows, explainer)]
            rows = rows.filter(
                pl.Series([sought.found_in(each, own) for each in records], dtype=pl.Boolean)
            )
        if rows.height:
            yield rows
        told(done)


def explained(rows: pl.DataFrame, explainer: Explains) -> list[Explained]:
    """Explain the value of each row, with `RECORD`."""
    headers = [headers_of(row) for row in rows.select("headers").iter_rows(named=True)]
    return explainer.explain(rows["value"].to_list(), headers)
