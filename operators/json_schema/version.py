"""Version: one version of a topic's JSON Schema: which records are of it, and their columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import jsonschema_rs
import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from operators.columns.arrays import Bools, Int64s
from operators.columns.frames import filtered
from operators.columns.times import in_micros
from operators.json_schema.columns import Column
from operators.json_schema.parsing import Json

_FEW: Final = 3
_TOGETHER: Final = 32
_MOST_SHOWN: Final = 60
# From year 1 to 9999: what Python, and others who read tables, have.
_YEARS_US: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)


class SchemaError(ValueError):
    """A schema cannot be used; the message says why."""


class _UnfitError(ValueError):
    """A value that no column of its type can hold."""


@dataclass(frozen=True, eq=False)
class Version:
    """A version by its number, its JSON Schema, and the columns of its records.

    A record without a property has its value of `defaults` in its column.
    """

    number: int
    schema: Any
    columns: Mapping[str, Column]
    defaults: Mapping[str, Any]

    @cached_property
    def validator(self) -> Any:
        """What tells records of the schema from others, formats and all; raises SchemaError.

        A reference out of the schema is none that is followed.
        """
        try:
            return jsonschema_rs.validator_for(self.schema, validate_formats=True, offline=True)
        except (jsonschema_rs.ValidationError, ValueError, TypeError) as error:
            raise SchemaError(str(error).partition("\n")[0]) from None

    def refused(self, record: Json) -> tuple[str, str]:
        """Return the code and the message of a record that is none of the schema.

        The code is the keyword that is broken first; the message has no value of the record, and
        no name that the schema does not have.
        """
        broken = sorted(
            (_field(path), path[-1], self._rule(path, each.kind))
            for each in self.validator.iter_errors(record)
            for path in [tuple(map(str, each.schema_path))]
        )
        told = list(dict.fromkeys(f"{field}: {rule}" for field, _, rule in broken))
        more = f"; and {len(told) - _FEW} more" if len(told) > _FEW else ""
        return f"schema_{_snake(broken[0][1])}", "; ".join(told[:_FEW]) + more

    def _rule(self, path: Sequence[str], kind: Any) -> str:
        word, value = path[-1], self.schema
        if word == "required":
            # One that the schema names.
            return f"required {kind.property}"
        for part in path:
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return word
        if isinstance(value, dict) or (isinstance(value, list) and word.endswith("Of")):
            return word
        text = orjson.dumps(value).decode()
        return f"{word} {text[:_MOST_SHOWN]}{'…' * (len(text) > _MOST_SHOWN)}"

    @cached_property
    def _struct(self) -> Any:
        mine = [(n, each.arrow) for n, each in self.columns.items() if each.made != "text"]
        return pa.struct(mine)

    def frame(self, records: Sequence[Json]) -> "Framed":
        """Return the columns of records of the schema, but for those that no column can hold."""
        if self.defaults:
            records = [{**self.defaults, **each} for each in records]
        unfit: list[tuple[int, str]] = []
        made, places = self._array(records, 0, unfit)
        values = dict(zip(self._struct.names, made.flatten(), strict=True))
        good, columns = np.ones(len(places), np.bool_), []
        for name, column in self.columns.items():
            if column.made == "text":
                texts = [_text(records[place].get(name)) for place in places.tolist()]
                columns.append(pl.Series(name, texts, pl.String))
                continue
            found = pl.Series(name, values[name])
            if column.made != "as it is":
                found, read = _read(found, column.made)
                unfit += [(int(places[row]), name) for row in np.flatnonzero(good & ~read)]
                good &= read
            columns.append(found if found.dtype == column.dtype else found.cast(column.dtype))
        frame = pl.DataFrame(columns)
        if good.all():
            return Framed(frame, places, unfit)
        return Framed(filtered(frame, pl.Series(good)), places[good], unfit)

    def _array(
        self, records: Sequence[Json], first: int, unfit: list[tuple[int, str]]
    ) -> tuple[Any, Int64s]:
        """Return records as an array, and their places, of which this is the `first`.

        Those that do not fit are left out, and added to `unfit`.
        """
        try:
            return pa.array(records, self._struct), np.arange(first, first + len(records))
        except (pa.ArrowException, OverflowError):
            if len(records) > _TOGETHER:
                middle = len(records) // 2
                head, before = self._array(records[:middle], first, unfit)
                tail, behind = self._array(records[middle:], first + middle, unfit)
                return pa.concat_arrays([head, tail]), np.concatenate([before, behind])
        found, places = [], []
        for place, record in enumerate(records, first):
            known: Json = {}
            try:
                for each in self._struct:
                    known[each.name] = _fitted(record.get(each.name), each.type)
            except _UnfitError:
                # The one behind those that fit.
                unfit.append((place, self._struct.names[len(known)]))
            else:
                found.append(known)
                places.append(place)
        return pa.array(found, self._struct), np.array(places, np.int64)


class Framed(NamedTuple):
    """Columns; of which records their rows are, by place; and place and field of the others."""

    frame: pl.DataFrame
    places: Int64s
    unfit: list[tuple[int, str]]


def _read(texts: pl.Series, made: str) -> tuple[pl.Series, Bools]:
    """Return times or days of texts, and which rows are read: those of the years 1 to 9999."""
    text = pl.col(texts.name).str
    if made == "time":
        made_of = text.to_uppercase().str.to_datetime(
            "%+", time_unit="us", time_zone="UTC", strict=False
        )
    else:
        made_of = text.to_date("%Y-%m-%d", strict=False)
    # At once, as each step would wait for another thread; the rest in NumPy.
    found = texts.to_frame().select_seq(made_of).to_series()
    first, last = _YEARS_US
    micros = in_micros(found)
    read = (micros >= first) & (micros <= last)
    return found, read | texts.is_null().to_numpy() if texts.null_count() else read


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _fitted(value: Any, kind: Any) -> Any:
    """Return a value as Arrow takes it for a type; raises _UnfitError where none of it can be."""
    if value is None:
        return None
    if pa.types.is_integer(kind):
        if int(value) != value or not -(2**63) <= value < 2**63:
            raise _UnfitError
        return int(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_struct(kind):
        return {each.name: _fitted(value.get(each.name), each.type) for each in kind}
    if pa.types.is_list(kind):
        return [_fitted(each, kind.value_type) for each in value]
    if pa.types.is_map(kind):
        return {key: _fitted(each, kind.item_type) for key, each in value.items()}
    return value


def _field(path: Sequence[str]) -> str:
    """Return the field that a place in a schema is about, by the names that the schema has."""
    names = [
        name for word, name in pairwise(path) if word in ("properties", "patternProperties")
    ]
    return ".".join(names) or "the record"


def _snake(word: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", word).strip("$")
