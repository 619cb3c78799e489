"""Drift: a writer's schema that is no version here, and what differs from the newest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.avro.changes import Change, changes_between
from operators.avro.compile import compile_record
from operators.avro.framing import SchemaId
from operators.avro.wire import SchemaError
from operators.columns.arrays import Int64s
from operators.records.tables import COORDINATES, Table
from schemas import AvroSchema

DRIFT_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "schema_id": pl.String(),
    "version": pl.Int32(),
    "outcome": pl.String(),
    "refused": pl.String(),
    "change": pl.String(),
    "field": pl.String(),
    "text": pl.String(),
}
"""A row per change from the newest `version` here to a schema; one without where none is told.

They come once for each partition that has records of the schema: its first record is where they are
from.
"""

ONE_DRIFT: Final = ("source_topic", "source_partition", "schema_id", "version")
"""What tells one drift of a partition from another."""

_SIGNS: Final = {"added": "+", "removed": "-", "renamed": "~", "changed": "~"}


@dataclass(frozen=True)
class Drift:
    """A writer's schema by its id, its changes since the newest version, and why it is refused.

    `refused` is empty where its records are read. New fields are kept in silver's `_rest`, but for
    those that are `lost`, of a type that is no column. `version` is how many versions are here.
    """

    schema_id: SchemaId
    changes: tuple[Change, ...]
    refused: str = ""
    lost: tuple[str, ...] = ()
    version: int = 0

    @property
    def outcome(self) -> str:
        """What becomes of its records: read or refused."""
        return "refused" if self.refused else "read"

    def __str__(self) -> str:
        told = ", ".join(f"{_SIGNS[c.kind]} {c.field} ({c.text})" for c in self.changes)
        becomes = f"its records are refused: {self.refused}"
        if not self.refused:
            added = any(change.kind == "added" for change in self.changes)
            becomes = "its records are read" + (", new fields kept in _rest" if added else "")
            becomes += f", but for {', '.join(self.lost)}" if self.lost else ""
        told = told or "no field differs"
        return f"schema id {self.schema_id} is no version here: {told}; {becomes}"


def drift_of(
    schema_id: SchemaId, schema: AvroSchema, versions: Sequence[AvroSchema], refused: str
) -> Drift | None:
    """Return how a writer's schema differs from the last of `versions`; None if it is one of them.

    What schemas say of fields in words alone makes no other version. `refused` is why none of its
    records can be read, if so.
    """
    try:
        compile_record(schema)
    except SchemaError:
        return Drift(schema_id, (), refused, version=len(versions))
    for version in versions:
        if not refused and not _meant(version, schema):
            return None
    changes = tuple(_meant(versions[-1], schema))
    return Drift(schema_id, changes, refused, version=len(versions))


def _meant(old: AvroSchema, new: AvroSchema) -> list[Change]:
    return [
        change
        for change in changes_between(old, new)
        if change.kind != "changed" or not change.text.startswith("doc ")
    ]


def drift_table(name: str) -> Table:
    """Return the table of this name that has `DRIFT_COLUMNS`."""
    return Table(name, DRIFT_COLUMNS)


def drift_rows(
    places: Sequence[pl.Series], found: Iterable[tuple[Drift, Int64s]]
) -> pl.DataFrame:
    """Return `DRIFT_COLUMNS` of a batch's drifts, each with the rows that have it.

    `places` are the columns of `COORDINATES` of all the batch's rows.
    """
    topics, partitions, offsets = places
    made: list[tuple[Any, ...]] = []
    for drift, rows in found:
        every = np.sort(rows)
        mine = partitions.to_numpy()[every]
        for at in np.unique(mine, return_index=True)[1].tolist():
            row = int(every[at])
            place = topics[row], int(partitions[row]), int(offsets[row])
            known = str(drift.schema_id), drift.version, drift.outcome, drift.refused or None
            made += [(*place, *known, c.kind, c.field, c.text) for c in drift.changes]
            made += [] if drift.changes else [(*place, *known, None, None, None)]
    return pl.DataFrame(made, DRIFT_COLUMNS, orient="row")
