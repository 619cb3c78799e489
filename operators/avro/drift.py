"""Drift: a writer's schema that is no version here, and what differs from the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from operators.avro.changes import Change, changes_between
from operators.avro.compile import compile_record
from operators.avro.framing import SchemaId
from operators.avro.wire import SchemaError
from schemas import AvroSchema

_SIGNS: Final = {"added": "+", "removed": "-", "renamed": "~", "changed": "~"}


@dataclass(frozen=True)
class Drift:
    """A writer's schema by its id, its changes since the newest version, and why it is refused.

    `refused` is empty where its records are read.
    """

    schema_id: SchemaId
    changes: tuple[Change, ...]
    refused: str = ""

    @property
    def outcome(self) -> str:
        """What becomes of its records: read or refused."""
        return "refused" if self.refused else "read"

    def __str__(self) -> str:
        told = ", ".join(f"{_SIGNS[c.kind]} {c.field} ({c.text})" for c in self.changes)
        becomes = f"its records are refused: {self.refused}"
        if not self.refused:
            added = any(change.kind == "added" for change in self.changes)
            becomes = "its records are read" + (", new fields left out" if added else "")
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
        return Drift(schema_id, (), refused)
    for version in versions:
        if not refused and not _meant(version, schema):
            return None
    return Drift(schema_id, tuple(_meant(versions[-1], schema)), refused)


def _meant(old: AvroSchema, new: AvroSchema) -> list[Change]:
    return [
        change
        for change in changes_between(old, new)
        if change.kind != "changed" or not change.text.startswith("doc ")
    ]
