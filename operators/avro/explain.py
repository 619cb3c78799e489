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
from operators.avro.walk import Broken, Part, Walk
from operators.avro.wire import SchemaError

MAGIC: Final = "magic byte"
ID: Final = "schema id"


@dataclass(frozen=True, slots=True)
class Explained:
    """What the bytes of a value are.

    `parts` are in the order of the bytes and touch each other; behind the last one is what broke,
    or what comes behind the record and is ignored. `record` is what could be decoded, a JSON
    object; None where there is no schema to decode by. `broken` says where it ends and why, None
    for a whole record.
    """

    parts: Sequence[Part] = ()
    record: dict[str, Any] | None = None
    broken: Broken | None = None
    schema_id: SchemaId | None = None
    schema: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def end(self) -> int:
        """Where the last part ends."""
        return self.parts[-1].end if self.parts else 0


def explain(value: bytes | None, headers: Headers | None, lookup: Lookup) -> Explained:
    """Explain a value with its record's headers.

    Whatever the bytes are, only what `lookup` raises beside KeyError comes through.
    """
    payloads = Payloads.of([value])
    groups, refusals = framing.split(payloads, [headers])
    if refusals or value is None:
        return Explained(broken=_unframed(value, headers, refusals[0].message))
    ((schema_id, ((_, skip),)),) = groups.items()
    parts = _head(value, skip, schema_id)
    try:
        schema = lookup(schema_id)
    except KeyError as error:
        why = f"there is no schema with the id {schema_id}"
        if len(error.args) > 1:
            why = f"the schema with the id {schema_id} {error.args[1]}"
        at = parts[-1].begin if parts else 0
        return Explained(parts, None, Broken(at, why, "an id that the registry has"), schema_id)
    try:
        compile_record(schema)
    except SchemaError as error:
        why = f"the schema with the id {schema_id} cannot be read by: {error}"
        return Explained(parts, None, Broken(skip, why, "a record"), schema_id, schema)
    walk = Walk(value, skip)
    record, broken = walk.read(schema)
    return Explained([*parts, *walk.parts], record, broken, schema_id, schema)


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
