"""Groups: rejects of one fingerprint as one line, and what made them one."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from operators.records.fingerprints import KIND, VERSION, kind_of, version_of
from ops.dlq.filters import Filters
from ops.dlq.quarantine import PLACE, Quarantine, QuarantineError, with_fingerprints

_WHAT: Final = """source_topic, source_partition, max(source_offset) AS source_offset,
    min(time) AS first, max(time) AS last, max(attempts) AS attempts, count(*) AS count"""
# No text but the fingerprint is looked at: the others are the same for all that have it.
_GROUPS: Final = """SELECT fingerprint, {what} FROM rows WHERE {where}
GROUP BY fingerprint, source_topic, source_partition"""
# Of rows from before there were fingerprints, by what these are made of.
_OLD: Final = """
SELECT fingerprint, stage, code, first_value(schema_id) AS schema_id, old_message AS message, {what}
FROM (
    SELECT *, message AS old_message,
        CASE WHEN code <> 'unknown_schema' THEN schema_id END AS old_schema
    FROM rows WHERE fingerprint IS NULL AND ({where})
)
GROUP BY fingerprint, stage, code, old_schema, old_message, source_topic, source_partition
"""
# As `state` says it, so that only what was done is looked up.
_DONE: Final = {
    "replayed": "replay IS NOT NULL AND discard IS NULL",
    "edited": "edit IS NOT NULL AND replay IS NULL AND discard IS NULL",
    "discarded": "discard IS NOT NULL",
}


def groups(quarantines: list[Quarantine], filters: Filters) -> list[dict[str, Any]]:
    """Return a line per fingerprint and stream, the largest first."""
    found = []
    for each in quarantines:
        where = filters.condition(each)
        rows = _rows(each, where)
        if rows.height:
            # What was done tells of which fingerprint it was, but for discards.
            if filters or "discard" in each.acts:
                done = {
                    state: _count(each, f"({where}) AND {is_}") for state, is_ in _DONE.items()
                }
            else:
                done = each.done()
            found += [_line(each.name, group, done) for group in _grouped(each, rows)]
    return sorted(found, key=lambda line: (-line["count"], line["fingerprint"]))


def _rows(quarantine: Quarantine, where: str) -> pl.DataFrame:
    """Return a row per fingerprint and partition, with what makes rows of it one kind."""
    rows = quarantine.query(_GROUPS.format(what=_WHAT, where=where))
    if not rows.height:
        return rows
    frames = []
    known = rows.filter(pl.col("fingerprint").is_not_null())
    if known.height:
        newest = known.sort("last").unique("fingerprint", keep="last")
        offsets = ", ".join(map(str, newest["source_offset"].unique()))
        few = quarantine.query(
            f"SELECT DISTINCT fingerprint, {', '.join(KIND)} FROM rows "  # noqa: S608 # our own
            f"WHERE source_offset IN ({offsets}) AND ({where})"
        )
        few = few.unique("fingerprint", keep="any")
        frames.append(known.join(few, on="fingerprint", how="left"))
    if known.height < rows.height:
        frames.append(quarantine.query(_OLD.format(what=_WHAT, where=where)))
    return pl.concat(frames, how="diagonal_relaxed")


def _count(quarantine: Quarantine, where: str) -> dict[str, int]:
    """Return by fingerprint how many rows are meant, of which something was done."""
    if not quarantine.acts:
        return {}
    rows = _rows(quarantine, where)
    counts: dict[str, int] = {}
    if rows.height:
        rows = with_fingerprints(quarantine.name, rows)
        for name, count in rows.select("fingerprint", "count").iter_rows():
            counts[name] = counts.get(name, 0) + count
    return counts


def _grouped(quarantine: Quarantine, rows: pl.DataFrame) -> list[pl.DataFrame]:
    rows = with_fingerprints(quarantine.name, rows)
    return rows.sort("last", descending=True).partition_by("fingerprint", maintain_order=True)


def _line(
    stream: str, group: pl.DataFrame, done: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """Return what is told of one fingerprint's rows; the first one has the newest record."""
    newest = group.row(0, named=True)
    kind, count = _kind(stream, newest), int(group["count"].sum())
    states = {state: done[state].get(newest["fingerprint"], 0) for state in done}
    return {
        "fingerprint": newest["fingerprint"],
        "stream": stream,
        "stage": newest["stage"],
        "code": newest["code"],
        "schema_id": kind["schema_id"],
        "message": kind["message"],
        "count": count,
        "open": count - states["replayed"] - states["discarded"],
        **states,
        "first": group["first"].min(),
        "last": newest["last"],
        "partitions": sorted(group["source_partition"].unique().to_list()),
        "attempts": group["attempts"].max() or 1,
        "sample": "/".join(str(newest[name]) for name in PLACE),
    }


def _kind(stream: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a row one of its kind; one of a later version as the row itself tells."""
    version = version_of(row["fingerprint"])
    told = {name: row[name] for name in KIND}
    try:
        return kind_of(stream, **told, version=version or VERSION)._asdict()
    except KeyError:
        return {"stream": stream, **told}


def why(
    quarantines: list[Quarantine], fingerprint: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of a fingerprint, and by which releases how many of it were written.

    Raises QuarantineError if there is no such reject.
    """
    filters = Filters(fingerprint=fingerprint, discarded=None)
    lines = groups(quarantines, filters)
    if not lines:
        raise QuarantineError(
            f"no reject has the fingerprint {fingerprint}; summary lists them"
        )
    releases: list[dict[str, Any]] = []
    for each in quarantines:
        rows = each.query(
            "SELECT stream, flow_version, count(*) AS count, min(time) AS first "  # noqa: S608 # our own
            f"FROM rows WHERE {filters.condition(each)} GROUP BY 1, 2 ORDER BY 4"
        )
        releases += rows.to_dicts()
    return lines, releases
