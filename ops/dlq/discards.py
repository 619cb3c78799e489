"""Discards as a table: which rejects nobody is to look at any more, until they are restored."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from operators.avro import Lookup
from operators.connectors.delta.acts import DISCARDS
from ops.dlq.acts import Acts, new_name
from ops.dlq.filters import Filters
from ops.dlq.quarantine import PLACE, Quarantine
from ops.dlq.sought import Sought, matching

_APP: Final = "millstream/discards"
_COLUMNS: Final = (*PLACE, "code")


def mark(
    root: str,
    quarantines: list[Quarantine],
    filters: Filters,
    asked: Mapping[str, Any],
    why: str,
    sought: Sought,
    lookup: Lookup,
    *,
    discarded: bool,
) -> tuple[str | None, int]:
    """Discard, or restore, the rejects that are meant; return what it is called, and how many.

    Those that were sent again are left as they are. Raises QuarantineError.
    """
    frames = []
    for each in quarantines:
        rows = _meant(each, filters, sought, lookup)
        if rows.height:
            frames.append(rows.with_columns(pl.lit(each.name).alias("stream")))
    if not frames:
        return None, 0
    acts, name = Acts(root), new_name()
    handle = acts.opened(DISCARDS)
    rows = pl.concat(frames).with_columns(
        pl.lit(name).alias("discard"),
        pl.lit(acts.next_number(handle, _APP)).alias("number"),
        pl.lit(discarded).alias("discarded"),
    )
    action = "discard" if discarded else "restore"
    acts.note(action, rows.height, asked, why, discard=name)
    acts.add(handle, DISCARDS, rows, _APP, action)
    return name, rows.height


def _meant(
    quarantine: Quarantine, filters: Filters, sought: Sought, lookup: Lookup
) -> pl.DataFrame:
    if sought:
        found = matching(quarantine, filters, sought, lookup)
        frames = [rows.filter(pl.col("replay").is_null()).select(_COLUMNS) for rows in found]
        return pl.concat(frames).unique() if frames else pl.DataFrame()
    return quarantine.query(
        f"SELECT DISTINCT {', '.join(_COLUMNS)} FROM rows "  # noqa: S608 # asked for
        f"WHERE replay IS NULL AND {filters.condition(quarantine)}"
    )
