"""The tables of what people did with rejects; `millstream query` knows them as well."""

from typing import Final

import polars as pl

from operators.records.columns import KEY_ID
from operators.records.tables import COORDINATES, TIME, Table

REPLAYS: Final = Table(
    "ops/replays",
    {
        "replay": pl.String(),
        "stream": pl.String(),
        **COORDINATES,
        "fingerprint": pl.String(),
        "sent_behind": pl.Int64(),
        "edit": pl.String(),
        "quarantine_version": pl.Int64(),
    },
)
"""A row per reject that is sent again, as that edit has it, if there was one: it is in its
partition at `sent_behind` or later. It was picked of that version of the quarantine's table."""

SENT: Final = Table(
    "ops/sent",
    {
        "replay": pl.String(),
        "stream": pl.String(),
        **COORDINATES,
        "sent_partition": pl.Int32(),
        "sent_offset": pl.Int64(),
    },
)
"""A row per reject that was sent, once its replay is done: where its record is now. A replay that
was ended between this and its report has each twice."""

EDITS: Final = Table(
    "ops/edits",
    {
        "edit": pl.String(),
        "number": pl.Int64(),
        "stream": pl.String(),
        **COORDINATES,
        "fingerprint": pl.String(),
        "who": pl.String(),
        "at": TIME,
        "why": pl.String(),
        "how": pl.String(),
        "changes": pl.String(),
        "original": pl.Binary(),
        "value": pl.Binary(),
        KEY_ID: pl.String(),
    },
)
"""A row per record of an edit: the bytes as they came and as they are to be, null where edits are
taken back. Of a record the row with the highest `number` counts. Where the quarantine is encrypted,
these and the changes are too."""

DISCARDS: Final = Table(
    "ops/discards",
    {
        "discard": pl.String(),
        "number": pl.Int64(),
        "stream": pl.String(),
        **COORDINATES,
        "code": pl.String(),
        "discarded": pl.Boolean(),
    },
)
"""A row per reject that was discarded, or restored; the one with the highest `number` counts."""

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
        "edit": pl.String(),
        "discard": pl.String(),
        "quarantine_version": pl.Int64(),
    },
)
"""A row per action: a replay that is about to claim, of which version of the quarantine's table,
and one that has sent all; an edit, its approval; what was discarded and restored; a file of rejects
with their records; rows that were too old, and went; a person who was forgotten."""

ACTS: Final = (REPLAYS, SENT, EDITS, DISCARDS, AUDIT)
