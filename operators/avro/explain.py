"""Explain one value: which bytes are what, as far as they are a record, and where they are not.

It reads as `wire` does and comes to the same verdict, but by the schema instead of what is compiled
of it, so that every byte of nested records, arrays and maps has its place as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from operators.avro import framing
from operators.avro.compile import compile_record
from operators.avro.framing import ID_HEADER, Headers, Lookup, SchemaId
from operators.avro.payloads import Payloads
from operators.avro.walk import Broken, Named, Part, Walk, named_types
from operators.avro.wire import SchemaError
from schemas import AvroSchema

MAGIC: Final = "magic byte"
ID: Final = "schema id"

_MAX_SCHEMAS: Final = 1024


@dataclass(frozen=True, slots=True)
class Explained:
    """What the bytes of a value are.

    `parts` are in the order of the bytes and touch each other; behind the last one is what broke,
    or what comes behind the record and is ignored. `record` is what could be decoded, a JSON
    object; None where there is no schema to decode by. `broken` says where it ends and why, None
    for a whole record. `json_head` is what stands before the JSON of a value that is JSON.
    """

    parts: Sequence[Part] = ()
    record: dict[str, Any] | None = None
    broken: Broken | None = None
    schema_id: SchemaId | None = None
    schema: dict[str, Any] | None = field(default=None, repr=False)
    json_head: bytes | None = None

    @property
    def end(self) -> int:
        """Where the last part ends."""
        return self.parts[-1].end if self.parts else 0


def explain(value: bytes | None, headers: Headers | None, lookup: Lookup) -> Explained:
    """Explain one value with its record's headers, as `Explainer` does."""
    return Explainer(lookup).explain([value], [headers])[0]


class Explainer:
    """Explains values; whatever their bytes are, only what `lookup` raises comes through.

    That a schema is not there, KeyError, is part of what is said of a value.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._read: dict[SchemaId, _Schema] = {}

    def explain(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> list[Explained]:
        """Explain each value with its record's headers."""
        groups, refusals = framing.split(Payloads.of(values), headers)
        found: dict[int, Explained] = {
            refusal.row: Explained(
                broken=_unframed(values[refusal.row], headers[refusal.row], refusal.message)
            )
            for refusal in refusals
        }
        for schema_id, several in groups.items():
            schema = self._schema(schema_id)
            for rows, skip in several:
                for row in rows.tolist():
                    found[row] = schema.explain(values[row] or b"", skip)
        return [found[row] for row in range(len(values))]

    def _schema(self, schema_id: SchemaId) -> "_Schema":
        if schema_id not in self._read:
            if len(self._read) >= _MAX_SCHEMAS:
                self._read.clear()
            self._read[schema_id] = _Schema(schema_id, self._lookup)
        return self._read[schema_id]


class _Schema:
    """A schema as far as it is there and can be read by."""

    def __init__(self, schema_id: SchemaId, lookup: Lookup) -> None:
        self._id, self._why = schema_id, ""
        self._schema: AvroSchema | None = None
        self._named: Named = {}
        try:
            self._schema = lookup(schema_id)
            compile_record(self._schema)
            self._named = named_types(self._schema)
        except KeyError as error:
            self._why = f"there is no schema with the id {schema_id}"
            if len(error.args) > 1:
                self._why = f"the schema with the id {schema_id} {error.args[1]}"
        except (SchemaError, RecursionError) as error:
            self._why = f"the schema with the id {schema_id} cannot be read by: {error}"

    def explain(self, value: bytes, skip: int) -> Explained:
        head = _head(value, skip, self._id)
        if self._schema is None:
            at = head[-1].begin if head else 0
            broken = Broken(at, self._why, "an id that the registry has")
            return Explained(head, None, broken, self._id)
        if self._why:
            broken = Broken(skip, self._why, "a record")
            return Explained(head, None, broken, self._id, self._schema)
        walk = Walk(value, skip, self._named)
        record, broken_ = walk.read(self._schema)
        return Explained([*head, *walk.parts], record, broken_, self._id, self._schema)


def _head(value: bytes, skip: int, schema_id: SchemaId) -> list[Part]:
    if not skip:
        return []
    kind = "4 bytes" if skip == 5 else "GUID"
    return [Part(0, 1, MAGIC, "1 byte", value[0]), Part(1, skip, ID, kind, str(schema_id))]


def _unframed(value: bytes | None, headers: Headers | None, message: str) -> Broken:
    framed = next((each for name, each in headers or () if name == ID_HEADER), None)
    where = "" if framed is None else f" in the header {ID_HEADER}"
    expected = f"magic byte 0 and an id of 4 bytes, or 1 and a GUID of 16{where}"
    at = len(value) if value and value[0] in (0, 1) and framed is None else 0
    return Broken(at, message.removesuffix("."), expected)
