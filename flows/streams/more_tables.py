"""Tables of what came, of what became of it, and of what changes come to."""

from collections.abc import Mapping
from functools import cached_property

import polars as pl

from operators.avro.drift import drift_table
from operators.changes import CHANGED, Changes, merging
from operators.contracts import load_privacy
from operators.privacy import Privacy, Sealable
from operators.records.columns import KEY_ID, QUARANTINE_COLUMNS, RAW_COLUMNS
from operators.records.data_quality import quality_table
from operators.records.tables import BUCKET, Table


class Watched:
    """What tells of a stream's records as a whole; `tables` are names of some, by what they are."""

    record: str
    tables: Mapping[str, str]
    judged: bool

    @property
    def privacy(self) -> Privacy:
        """What is declared of personal data in its records; raises ContractError."""
        return load_privacy(self.record)

    @property
    def counted(self) -> bool:
        """Whether what becomes of its records is counted.

        Of labels, which are judged, those that a crash has left in silver come of the table again,
        all at once and not with their records.
        """
        return not self.judged

    @property
    def watched(self) -> list[Table]:
        """The tables of that."""
        return [*([self.data_quality] if self.counted else []), self.schema_drift]

    def _table(self, what: str, name: str) -> str:
        return self.tables.get(what, name)

    @cached_property
    def data_quality(self) -> Table:
        """What became of its records, minute by minute."""
        return quality_table(self._table("data_quality", f"gold/{self.record}_data_quality"))

    @cached_property
    def schema_drift(self) -> Table:
        """What differs in schemas of its records that are no version here."""
        return drift_table(self._table("schema_drift", f"gold/{self.record}_schema_drift"))


def _sealed(privacy: Privacy, sink: Sealable) -> dict[str, pl.DataType]:
    """Return the column of a key's id, if a sink is to be encrypted."""
    return {KEY_ID: pl.String()} if privacy.seals(sink) else {}


def quarantine_table(name: str, privacy: Privacy) -> Table:
    """Return a table of records that were refused."""
    return Table(name, {**QUARANTINE_COLUMNS, **_sealed(privacy, "quarantine")})


def bronze_table(name: str, privacy: Privacy) -> Table:
    """Return a table of records as ingested, or encrypted."""
    return Table(
        name,
        {**RAW_COLUMNS, "ingest_date": pl.Date(), **_sealed(privacy, "bronze")},
        partition_by=("ingest_date",),
        scattered=("value",),
    )


def merged_table(
    name: str, changes: Changes | None, fields: Mapping[str, pl.DataType]
) -> Table:
    """Return the table of what changes of rows of these fields come to.

    Raises ValueError where there are no changes, or none that could be of such rows.
    """
    if changes is None:
        raise ValueError(f"{name}: the stream has no changes")
    changes.check(fields)
    kept = merging(changes, fields)
    return Table(
        name,
        kept.columns,
        partition_by=(BUCKET,),
        closes=CHANGED,
        scattered=changes.by,
        merging=kept,
    )
