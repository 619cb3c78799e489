"""Holder: which refused records have a value, whether they decode or not."""

import json
import re
from typing import Any

import polars as pl

from operators.avro.encode import zigzag
from operators.avro.framing import Headers
from ops.dlq.records import headers_of
from ops.dlq.streams import Explains


class Holder:
    """Tells which rejects, with their records, have a value in a field.

    Where a record does not decode up to the field, the value is looked for in its bytes: as Avro
    writes a text, as JSON does where it escapes what is not ASCII, or as a word of its own.
    `of_key` says that the Kafka key may be the field's.
    """

    def __init__(self, name: str, value: str, explainer: Explains, *, of_key: bool) -> None:
        self._name, self._value, self._key = name, value, of_key
        self._bytes = value.encode()
        text = re.escape(self._bytes)
        avro = re.escape(zigzag(len(self._bytes)) + self._bytes)
        escaped = re.escape(json.dumps(value).encode())
        self._told = re.compile(
            b"(?s)" + avro + b"|(?<![\\w-])" + text + b"(?![\\w-])|" + escaped
        )
        self._explainer = explainer

    def __call__(self, rows: pl.DataFrame) -> pl.Series:
        """Return a Boolean for each row."""
        records = rows.select("key", "value", "headers").to_dicts()
        return pl.Series([self._has(each) for each in records], dtype=pl.Boolean)

    def _has(self, row: dict[str, Any]) -> bool:
        if self._key and row["key"] == self._bytes:
            return True
        value = row["value"]
        # A text of JSON may be written in other ways, of which each has a backslash.
        if value is None or (self._bytes not in value and b"\\u" not in value.lower()):
            return False
        headers: Headers = headers_of(row)
        (found,) = self._explainer.explain([value], [headers])
        if found.record is not None and self._name in found.record:
            return str(found.record[self._name]) == self._value
        return self._told.search(value) is not None
