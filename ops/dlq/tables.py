"""The tables of what people did with rejects; `millstream query` knows them as well."""

from typing import Final

import polars as pl

from operators.records.tables import COORDINATES, TIME, Table

REPLAYS: Final = Table(
    "ops/replays",
    {
        "replay": pl.String(),
        "stream": pl.String(),
        **COORDINATES,
        "fingerprint": pl.String(),
        "sent_behind": pl.Int64(),
    },
)
"""A row per reject that is sent again: it is in its partition at `sent_behind` or later."""

AUDIT: Final = Table(
    "ops/audit",
    {
        "action": pl.String(),
        "replay": pl.String(),
        "who": pl.String(),
        "at": TIME,
        "filter": pl.String(),
        "records": pl.Int64(),
        "why": pl.String(),
    },
)
"""A row per action: a replay that is about to claim, as `BEGUN`, and one that has sent all."""
