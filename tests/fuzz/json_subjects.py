"""Subjects in JSON: by a version in a field or in a header, and plain JSON against Avro."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import polars as pl

from operators.avro.framing import Headers
from operators.contracts.contract import Checked, Contract
from operators.json_schema import ByField, ByHeader, JsonDecoder, Newest, columns_of, of_avro
from operators.json_schema import Version as JsonVersion
from operators.json_schema.versions import Versions
from tests.flows.enforced import ORDER, ORDER_2, READING
from tests.operators.json_schema.reference import SCHEMA

FIELD, SCHEMA_FIELD, HEADER = "_schema_version", "_schema", "schema-version"

# Patterns are not alike in any two languages: `$` is before a line feed, too, in Python.
_ANY: Final[dict[str, Any]] = SCHEMA | {
    "properties": SCHEMA["properties"] | {"a": {"type": "string", "minLength": 1}}
}
_ANY_2: Final = _ANY | {"required": ["a", "b"], "additionalProperties": True}
_KINDS: Final = (b"1", b"2", b"1", b"2", b"1", b"2", b"3", b"x", None, b"\xff")


@dataclass(frozen=True, eq=False)
class JsonSubject:
    """Versions of a schema, good values to begin with, and which headers a value comes with."""

    versions: dict[int, JsonVersion]
    told: Versions
    texts: Any
    headed: bool = False

    def decoder(self) -> JsonDecoder:
        columns = {
            name: each.dtype
            for version in self.versions.values()
            for name, each in version.columns.items()
        }
        return JsonDecoder(self.told, columns)

    @cache  # noqa: B019 # there are three
    def good(self, count: int) -> list[bytes]:
        """Return good records of all the versions."""
        found = []
        number = 0
        while len(found) < count:
            value = self.texts(number)
            number += 1
            # By its headers, which are those of its bytes, it may be of no version.
            if self.version_of(json.loads(value), self.headers([value])[0]) is not None:
                found.append(value)
        return found

    def headers(self, values: Sequence[bytes | None]) -> list[Headers | None]:
        """Return the headers of values, a function of the bytes alone."""
        if not self.headed:
            return [None] * len(values)
        return [
            None if value is None else [(HEADER, _KINDS[sum(value[-9:]) % len(_KINDS)])]
            for value in values
        ]

    def version_of(self, record: Any, headers: Headers | None) -> JsonVersion | None:
        """Return of which version a record is, as a reader would say who only knows the page."""
        if len(self.versions) == 1:
            return self.versions[1]
        if self.headed:
            ((_, told),) = headers or ((HEADER, None),)
            number = None if told is None else told.decode("latin-1")
        else:
            if record.get(SCHEMA_FIELD) != "events":
                return None
            number = record.get(FIELD)
        if isinstance(number, bool) or not isinstance(number, (int, str)):
            return None
        # Ten digits are no version's.
        digits = str(number)
        if digits.isascii() and digits.isdecimal() and len(digits) < 10:
            return self.versions.get(int(digits))
        return None

    def contract(self, frame: pl.DataFrame, stamps: pl.Series) -> Checked:
        return Contract(()).check(frame, stamps)


def _versions(*schemas: Any) -> dict[int, JsonVersion]:
    return {n: JsonVersion(n, each, columns_of(each), {}) for n, each in enumerate(schemas, 1)}


def _event(number: int) -> bytes:
    version = 1 + number % 2
    fields = {
        SCHEMA_FIELD: "events", FIELD: version,
        "order_id": f"ordér-{number}", "ordered_at": f"2026-03-01T12:{number % 60:02}:00Z",
        "amount": number + 0.5, "customer": {"id": "c", "country": "BE"},
        "lines": list(range(number % 4)), **({"currency": "EUR"} if version == 2 else {}),
    }  # fmt: skip
    spaced = (", ", " : ") if number % 7 == 0 else None
    return json.dumps(fields, ensure_ascii=number % 3 > 0, separators=spaced).encode()


def _anything(number: int) -> bytes:
    fields = {
        "a": "a" * (1 + number % 9), "b": number, "c": -number / 8, "d": (None, True)[number % 2],
        "e": "xy"[number % 2], "f": [number] * (number % 3), "g": {"x": number, "y": "é\n"},
        "h": ("text", number)[number % 2], "i": {"k": number % 2 == 0},
    }  # fmt: skip
    return json.dumps(fields).encode()


def _reading(number: int) -> bytes:
    fields = {
        "sensor": "sensor", "at": 1_772_366_400_000_000 + number, "value": number / 4,
        "place": {"room": number % 100},
    }  # fmt: skip
    return json.dumps(fields | ({"note": "n"} if number % 2 else {})).encode()


def _by_field() -> JsonSubject:
    versions = _versions(ORDER, ORDER_2)
    return JsonSubject(versions, ByField(versions, FIELD, SCHEMA_FIELD, "events"), _event)


def _by_header() -> JsonSubject:
    versions = _versions(_ANY, _ANY_2)
    return JsonSubject(versions, ByHeader(versions, HEADER, "any"), _anything, headed=True)


def _against_avro() -> JsonSubject:
    version = JsonVersion(1, *of_avro(READING))
    return JsonSubject({1: version}, Newest(version), _reading)


JSON_SUBJECTS: Final = {
    "JSON by a field": _by_field(),
    "JSON by a header": _by_header(),
    "JSON against Avro": _against_avro(),
}
