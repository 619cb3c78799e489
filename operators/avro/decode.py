"""Decode batches of framed records: by columns, and strictly one by one what is left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from operators.avro import framing
from operators.avro.bulk import Bulk, Rows
from operators.avro.compile import Record, compile_record
from operators.avro.framing import Group, Headers, Lookup, SchemaId
from operators.avro.resolve import WIRE_TYPES, Reader, Resolver
from operators.avro.wire import MalformedError, SchemaError
from operators.rejects import Refusal
from schemas import AvroSchema

_MAX_PLANS = 1024

Refused = tuple[int, str, str]  # position among the bodies, code, message


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch, decoded.

    `frame` has a column for each of the reader's fields, in its order; `rows` (int64,
    ascending) says where in the batch each of its rows was. Every value of the batch is
    either in `rows` or in `refusals` (stage "decode", by row).
    """

    frame: pl.DataFrame
    rows: Rows
    refusals: list[Refusal]


class Decoder:
    """Decodes records of any known writer's schema as records of `reader`.

    Strings and enums become String, timestamp-micros Datetime("us", "UTC"), and long, int,
    double, float and boolean Int64, Int32, Float64, Float32 and Boolean.

    `lookup` returns the schema of an id, or raises KeyError if there is none; any other
    error of it passes through `decode`. Found schemas are kept; an id without a schema is
    looked up once in each batch that holds it.
    """

    def __init__(self, reader: AvroSchema, lookup: Lookup) -> None:
        self._reader = Reader(reader)
        self._empty = pl.DataFrame(schema=self._reader.dtypes)
        self._lookup = lookup
        self._plans: dict[SchemaId, _Plan | str] = {}
        self._by_schema: dict[str, _Plan | str] = {}

    def decode(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> Decoded:
        """Decode a batch: a value and its headers (or None) for each record.

        Codes of refusals: null_value, empty, bad_magic, truncated_frame, unknown_schema,
        incompatible_schema (the writer's schema, or this record of it, cannot be read as
        the reader's), malformed, bad_utf8.
        """
        groups, refusals = framing.split(values, headers)
        frames, rows = [], []
        for plan, several in self._by_plan(groups).items():
            bodies = [body for group in several.values() for body in group.bodies]
            positions = np.concatenate([_positions(group.rows) for group in several.values()])
            if isinstance(plan, _Plan):
                frame, good, refused = plan.decode(bodies)
                if frame.height:
                    rows.append(positions if good is None else positions[good])
                    frames.append(frame)
            else:
                refused = [(at, *plan) for at in range(len(bodies))]
            ids = list(several)
            ends = np.cumsum([len(group.bodies) for group in several.values()])
            refusals += [
                Refusal(
                    int(positions[at]),
                    "decode",
                    code,
                    message,
                    str(ids[int(np.searchsorted(ends, at, "right"))]),
                )
                for at, code, message in refused
            ]
        refusals.sort(key=lambda refusal: refusal.row)
        if not frames:
            return Decoded(self._empty, np.zeros(0, np.int64), refusals)
        all_rows = np.concatenate(rows)
        if np.all(all_rows[1:] > all_rows[:-1]):
            return Decoded(pl.concat(frames), all_rows, refusals)
        order = np.argsort(all_rows)
        return Decoded(pl.concat(frames)[order], all_rows[order], refusals)

    def _by_plan(
        self, groups: dict[SchemaId, Group]
    ) -> dict["_Plan | tuple[str, str]", dict[SchemaId, Group]]:
        """Put together what is decoded alike: one schema may have several ids.

        The key is what decodes, or the code and message of the refusal of all.
        """
        found: dict[_Plan | tuple[str, str], dict[SchemaId, Group]] = {}
        for schema_id, group in groups.items():
            plan = self._plan(schema_id)
            key: _Plan | tuple[str, str]
            if plan is None:
                key = "unknown_schema", "There is no schema of this id."
            elif isinstance(plan, str):
                key = "incompatible_schema", f"The writer's schema cannot be read: {plan}."
            else:
                key = plan
            found.setdefault(key, {})[schema_id] = group
        return found

    def _plan(self, schema_id: SchemaId) -> "_Plan | str | None":
        """Return how to decode an id's records, why none can be, or None: no such schema."""
        plan = self._plans.get(schema_id)
        if plan is None:
            try:
                schema = self._lookup(schema_id)
            except KeyError:
                return None
            plan = self._plan_of(schema)
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
                self._by_schema.clear()
            self._plans[schema_id] = plan
        return plan

    def _plan_of(self, schema: AvroSchema) -> "_Plan | str":
        text = json.dumps(schema, sort_keys=True)
        plan = self._by_schema.get(text)
        if plan is None:
            try:
                plan = _Plan(compile_record(schema), self._reader)
            except SchemaError as error:
                plan = str(error)
            self._by_schema[text] = plan
        return plan


class _Plan:
    """How to decode the records of one writer."""

    def __init__(self, writer: Record, reader: Reader) -> None:
        self._writer = writer
        self._resolver = Resolver(writer, reader)
        try:
            self._bulk: Bulk | None = Bulk(writer.fields)
        except ValueError:
            self._bulk = None

    def decode(self, bodies: list[bytes]) -> tuple[pl.DataFrame, Rows | None, list[Refused]]:
        """Return the good rows' frame, their positions (None: all), and the others."""
        rows: Rows | None = np.zeros(0, np.int64)
        columns: list[pl.Series] | None = None
        if self._bulk is not None:
            columns, rows = self._bulk.decode(bodies)
        refused: list[Refused] = []
        if rows is not None:
            left = np.delete(np.arange(len(bodies)), rows)
            read, good, refused = self._strictly(bodies, left.tolist())
            if columns is None or good:
                # Merged only where the bulk decoder left out a good neighbour of a bad one.
                columns = read if columns is None else _concat(columns, read)
                rows = np.concatenate([rows, np.array(good, np.int64)])
        assert columns is not None  # noqa: S101 - for mypy
        height = len(bodies) if rows is None else len(rows)
        frame, unreadable = self._resolver.resolve(columns, height)
        if unreadable:
            rows = np.arange(height) if rows is None else rows
            refused += [
                (int(rows[at]), "incompatible_schema", f"Not a record for the reader: {why}.")
                for at, why in unreadable.items()
            ]
            kept = np.delete(np.arange(height), list(unreadable))
            frame, rows = frame[kept], rows[kept]
        if rows is not None and np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows)
            frame, rows = frame[order], rows[order]
        return frame, rows, refused

    def _strictly(
        self, bodies: list[bytes], rows: list[int]
    ) -> tuple[list[pl.Series], list[int], list[Refused]]:
        values, good, refused = [], [], []
        for row in rows:
            try:
                values.append(self._writer.read(bodies[row]))
                good.append(row)
            except UnicodeDecodeError:
                refused.append((row, "bad_utf8", "A string is not UTF-8."))
            except MalformedError as error:
                refused.append((row, "malformed", f"Not a record of its schema: {error}."))
        columns = [
            pl.Series(f"f{i}", [value[i] for value in values], WIRE_TYPES[field.wire.kind])
            if field.wire.kind in WIRE_TYPES
            else pl.Series(f"f{i}", [None] * len(values), pl.Null)
            for i, field in enumerate(self._writer.fields)
        ]
        return columns, good, refused


def _positions(rows: list[int] | range) -> Rows:
    return np.arange(len(rows)) if isinstance(rows, range) else np.array(rows, np.int64)


def _concat(first: list[pl.Series], second: list[pl.Series]) -> list[pl.Series]:
    return [pl.concat(pair) for pair in zip(first, second, strict=True)]
