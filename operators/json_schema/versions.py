"""Versions: how it is told of which version of its schema a record is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol

from operators.avro import framing
from operators.avro.framing import Headers, Lookup, SchemaId
from operators.avro.payloads import Payloads
from operators.json_schema.parsing import Json
from operators.json_schema.version import Version
from operators.records.rejects import Refusal


class Refused(NamedTuple):
    """Why a record is of no version that is here."""

    code: str
    message: str


Of = tuple[Version, str | None]
"""A version, and what its records call it."""


class Bodies(NamedTuple):
    """The JSON of some of a batch's values: their rows, ascending, and each one's bytes.

    `told` are the versions by row where they are known before the JSON is read. `refused` are the
    other values.
    """

    rows: list[int]
    values: Sequence[bytes]
    told: Mapping[int, Of]
    refused: list[Refusal]


class Versions(Protocol):
    """Tells of which version a record is."""

    def bodies(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> Bodies:
        """Return the JSON of a batch's values."""

    def of(self, record: Json) -> Of | Refused:
        """Return the version of a record that was not told."""


def _whole(values: Sequence[bytes | None]) -> tuple[list[int], list[bytes], list[Refusal]]:
    there = [value for value in values if value]
    if len(there) == len(values):
        return list(range(len(values))), there, []
    refused = []
    for row, value in enumerate(values):
        if not value:
            code, what = ("null_value", "null") if value is None else ("empty", "empty")
            refused.append(Refusal(row, "decode", code, f"The value is {what}."))
    return [row for row, value in enumerate(values) if value], there, refused


class _Plain:
    """The JSON of a record is its value, with nothing before it."""

    def bodies(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> Bodies:
        """Return the values as they are."""
        rows, found, refused = _whole(values)
        return Bodies(rows, found, {}, refused)


@dataclass(frozen=True)
class Newest(_Plain):
    """Every record is of the newest version."""

    version: Version

    def of(self, record: Json) -> Of | Refused:
        """Return the newest version."""
        return self.version, None


@dataclass(frozen=True)
class ByField(_Plain):
    """A field of the record has the version's number, and perhaps another one the schema's name.

    `schema_field` is that one, None where there is none, and `record` the name.
    """

    versions: Mapping[int, Version]
    field: str
    schema_field: str | None
    record: str

    @cached_property
    def _named(self) -> dict[int, Of]:
        return {n: (each, f"{self.record}/{n}") for n, each in self.versions.items()}

    def of(self, record: Json) -> Of | Refused:
        """Return the version that the record names."""
        name = self.schema_field
        if name is not None and record.get(name) != self.record:
            return Refused("other_schema", f"The field {name} does not say {self.record}.")
        told = record.get(self.field)
        if told is None:
            return Refused("no_version", f"The field {self.field} is missing.")
        found = self._named.get(_number(told))
        if found is None:
            return Refused(
                "unknown_version", f"The field {self.field} names no version that is here."
            )
        return found


def _number(told: Any) -> int:
    """Return the version that a field or header names, as a number or its digits; -1 for none."""
    if type(told) is int:
        return told
    if isinstance(told, str) and told.isascii() and told.isdecimal() and len(told) < 10:
        return int(told)
    return -1


@dataclass(frozen=True)
class ByHeader:
    """A header has the version's number, in digits; of several with its name the last counts."""

    versions: Mapping[int, Version]
    header: str
    record: str

    def bodies(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> Bodies:
        """Return the values whose headers name a version."""
        rows, found, refused = _whole(values)
        told: dict[int, Of] = {}
        for row in rows:
            value = _last(headers[row], self.header)
            version = None
            if value is not None:
                version = self.versions.get(_number(value.decode("ascii", "replace")))
            if version is not None:
                told[row] = version, f"{self.record}/{version.number}"
            elif value is None:
                message = f"There is no header {self.header}."
                refused.append(Refusal(row, "decode", "no_version", message))
            else:
                message = f"The header {self.header} names no version that is here."
                refused.append(Refusal(row, "decode", "unknown_version", message))
        if len(told) < len(rows):
            found = [value for row, value in zip(rows, found, strict=True) if row in told]
        return Bodies(list(told), found, told, refused)

    def of(self, record: Json) -> Of | Refused:
        """Raise, as all were told."""
        raise AssertionError("every version is in a header")


def _last(headers: Headers | None, name: str) -> bytes | None:
    for each, value in reversed(headers or ()):
        if each == name:
            return value
    return None


_NO_VERSION: Final = "The schema of this id is no version that is here."


@dataclass(frozen=True)
class ByRegistry:
    """Confluent's framing: a registry's id before the JSON, or in a header.

    The id's schema must be one of `schemas`, those of the versions, value for value: what somebody
    has registered is not yet allowed.
    """

    versions: Mapping[int, Version]
    schemas: Mapping[int, Any]
    lookup: Lookup
    _known: dict[SchemaId, Version | None] = field(default_factory=dict)

    def bodies(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> Bodies:
        """Return what is behind the ids of schemas that are versions here."""
        payloads = Payloads.of(values)
        groups, refused = framing.split(payloads, headers)
        told: dict[int, Of] = {}
        bodies: dict[int, bytes] = {}
        for schema_id, several in groups.items():
            rows = [(row, group.skip) for group in several for row in group.rows.tolist()]
            try:
                version, why = self._version(schema_id), _NO_VERSION
            except KeyError as error:
                version, why = None, framing.unknown(schema_id, error)
            for row, skip in rows:
                if version is None:
                    said = str(schema_id)
                    refused.append(Refusal(row, "decode", "unknown_schema", why, said))
                    continue
                told[row] = version, str(schema_id)
                bodies[row] = (payloads.values[row] or b"")[skip:]
        order = sorted(told)
        return Bodies(order, [bodies[row] for row in order], told, refused)

    def _version(self, schema_id: SchemaId) -> Version | None:
        if schema_id not in self._known:
            schema = self.lookup(schema_id)
            same = (self.versions[n] for n, each in self.schemas.items() if each == schema)
            self._known[schema_id] = next(same, None)
        return self._known[schema_id]

    def of(self, record: Json) -> Of | Refused:
        """Raise, as all were told."""
        raise AssertionError("every version is told by an id")
