"""A topic that is enforced: what its records are held to, and where they go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import polars as pl

from flows.streams.settings import StreamSettings, named_settings
from flows.streams.stream import Stream
from operators.avro import CODES as AVRO_CODES
from operators.avro import REST, Lookup
from operators.avro.compatibility import Level
from operators.avro.decode import Decodes
from operators.contracts import REPAIRS, WARNINGS
from operators.contracts.contract import Contract
from operators.json_schema import CODES as JSON_CODES
from operators.privacy import Privacy
from operators.records.identities import ORIGIN, repeated_columns
from operators.records.tables import COORDINATES, STAMPS, TIME, Ledger, Table

RESERVED = frozenset(
    {*COORDINATES, "kafka_timestamp", REST, REPAIRS, WARNINGS, "ingest_date", *STAMPS}
)
"""The columns of silver that no field may have the name of."""


def _may_tell(kind: pl.DataType) -> bool:
    return kind == pl.String() or kind.is_integer()


@dataclass(frozen=True)
class Enforced(Stream):
    """A topic by its name, that of its folder, with what its files declare.

    It is a stream without an identity of its events: nothing is deduplicated but what is sent
    again, and nothing is made of the records. `topic` is read, `validated` gets what is good, if
    anything does, and `dlq` what is not. `schemas` are the versions' by number, as their files have
    them, in one of two formats; records are `written` as Avro or as JSON, with ids of the schemas
    if those are `registered`. Who looks for a record finds it by the field `told_by`, if one is
    declared, and what is sent again is known by it. `hides` is what is done to personal data,
    `compatibility` what its versions are held to in CI. `of` are the fields' columns, and `decoder`
    makes what decodes a batch, given how schemas are found by their ids.
    """

    topic: str = ""
    validated: str | None = None
    dlq: str = ""
    written: Literal["avro", "json"] = "avro"
    schemas: Mapping[int, Any] = field(default_factory=dict)
    of: Mapping[str, pl.DataType] = field(default_factory=dict)
    contract: Contract = field(default_factory=lambda: Contract(()))
    needs_approval: bool = False
    told_by: str = ""
    hides: Privacy = field(default_factory=Privacy)
    compatibility: Level = "none"
    registered: bool = True
    decoder: Callable[[Lookup], Decodes] = field(kw_only=True)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of what decoding may refuse."""
        return AVRO_CODES if self.written == "avro" else JSON_CODES

    @cached_property
    def fields(self) -> dict[str, pl.DataType]:
        """The columns of the fields, of all versions."""
        return dict(self.of)

    @property
    def privacy(self) -> Privacy:
        """What is declared of personal data in its records."""
        return self.hides

    @cached_property
    def noted(self) -> dict[str, pl.DataType]:
        """The columns of what was left over of Avro, repaired, warned of, or sent again."""
        names = [REST] if self.written == "avro" else []
        names += [REPAIRS] if self.contract.repairs else []
        names += [WARNINGS] if self.contract.warns else []
        names += [ORIGIN] if self.tells_apart else []
        return dict.fromkeys(names, pl.String())

    @cached_property
    def silver(self) -> Table:
        """The good records."""
        return Table(
            f"silver/{self.name}",
            {
                **COORDINATES,
                "kafka_timestamp": TIME,
                **self.fields,
                **self.noted,
                "ingest_date": pl.Date(),
            },
            partition_by=("ingest_date",),
            scattered=None,
        )

    @property
    def tells_apart(self) -> bool:
        """Whether what is sent again is known by its id: a text, or a whole number."""
        return bool(self.told_by) and _may_tell(self.of[self.told_by])

    @cached_property
    def duplicates(self) -> Table:
        """Records that silver has already, as one of the two was sent again."""
        kind = self.of.get(self.told_by, pl.String())
        columns = repeated_columns(self.told_by or "id", kind)
        return Table(f"silver/{self.name}_duplicates", columns, scattered=None)

    @cached_property
    def ledger(self) -> Ledger:
        """The tables that have each record once."""
        repeated = self.duplicates if self.tells_apart else None
        return Ledger(None, self.silver, repeated, self.quarantine, timed=False)

    @property
    def watched(self) -> list[Table]:
        """The tables of what tells of the records as a whole; of JSON no schema can drift.

        A version that nobody knows is a reject.
        """
        return [self.data_quality, *([self.schema_drift] if self.written == "avro" else [])]

    @cached_property
    def all_tables(self) -> list[Table]:
        """The tables of the topic."""
        return [*self.ledger.counted, *self.watched]

    def own(self, **settings: Any) -> StreamSettings:
        """Return the settings of what reads it; `settings` are others than the usual ones."""
        named = named_settings(self.name) | {"topic": self.topic, "dlq_topic": self.dlq}
        return StreamSettings(**{**named, **settings})
