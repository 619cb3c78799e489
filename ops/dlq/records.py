"""Records: those that filters pick, the newest first, and what each of them is called."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import polars as pl

from operators.records.fingerprints import KIND
from ops.dlq.filters import Filters
from ops.dlq.quarantine import (
    PLACE,
    Place,
    Quarantine,
    quoted,
    with_fingerprints,
)

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


def newest(quarantines: list[Quarantine], filters: Filters, limit: int) -> pl.DataFrame:
    """Return the newest rejects, with `COLUMNS`."""
    return merged([(each, _newest(each, filters, limit)) for each in quarantines], limit)


def merged(found: Iterable[tuple[Quarantine, pl.DataFrame]], limit: int) -> pl.DataFrame:
    """Return the newest of the rejects of some quarantines, with their fingerprints."""
    frames = [with_fingerprints(each.name, rows) for each, rows in found if rows.height]
    if not frames:
        return pl.DataFrame()
    return in_order(pl.concat(frames), limit)


def in_order(rows: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return the newest of rejects, the newest first."""
    return rows.sort(_ORDER, descending=True).head(limit)


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


def count(quarantines: list[Quarantine], filters: Filters) -> int:
    """Return how many rejects are meant."""
    return sum(
        each.query(f"SELECT count(*) AS n FROM rows WHERE {filters.condition(each)}").item()  # noqa: S608 # asked for
        for each in quarantines
    )


def hexed(value: bytes | None) -> str | None:
    """Return bytes as JSON has them."""
    return None if value is None else value.hex()


def headers_of(row: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    """Return the headers of a row as the decoder takes them."""
    return [(each["key"], each["value"]) for each in row["headers"] or ()]


def name_of(row: Mapping[str, Any]) -> str:
    """Return what a row's record is called, as `parse_place` takes it."""
    return "/".join(str(row[name]) for name in PLACE)


def at(place: Place) -> str:
    """Return what holds of the rows of one record, as SQL."""
    return " AND ".join(
        f"{name} = {quoted(value) if isinstance(value, str) else value}"
        for name, value in zip(PLACE, place, strict=True)
    )
