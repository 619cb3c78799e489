"""Decode batches of framed records: by columns, and strictly one by one what is left."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from operators.avro import framing
from operators.avro.bulk import Bulk
from operators.avro.compile import Record, compile_record
from operators.avro.framing import Headers, Lookup, SchemaId
from operators.avro.kinds import arrow_of
from operators.avro.nested import NestedBulk
from operators.avro.payloads import Group, Payloads
from operators.avro.resolve import FLAT, WIRE_TYPES, Reader, Resolver, WireColumn
from operators.avro.wire import MalformedError, SchemaError, Wire
from operators.columns.arrays import Int64s
from operators.columns.frames import stacked, taken
from operators.records.rejects import Refusal
from schemas import AvroSchema

_MAX_PLANS = 1024
# Ids of 8 bytes begin with four zeros, which read as this number.
_ID_OF_8_BYTES = 0
_UNREAD: Final = pl.Series(dtype=pl.Null())

CODES = (
    "null_value",
    "empty",
    "bad_magic",
    "truncated_frame",
    "unknown_schema",
    "incompatible_schema",
    "malformed",
    "bad_utf8",
)
"""The codes of refusals.

Of `incompatible_schema` the writer's schema, or a record of it, cannot be read as the reader's.
"""

Refused = tuple[int, str, str]  # row, code, message


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch, decoded.

    `frame` has a column for each of the reader's fields, in its order; `rows` (int64) says
    where in the batch each of its rows was, which are in no order. Every value of the batch is
    either in `rows` or in `refusals` (stage "decode", by row).
    """

    frame: pl.DataFrame
    rows: Int64s
    refusals: list[Refusal]

    def in_order(self, good: pl.Series | None = None) -> tuple[pl.DataFrame, Int64s]:
        """Return frame and rows in the order of the batch; only the rows that are `good`."""
        rows = self.rows
        if good is None and np.all(rows[1:] > rows[:-1]):
            return self.frame, rows
        order = np.argsort(rows, kind="stable")
        if good is not None:
            order = order[good.to_numpy()[order]]
        return taken(self.frame, order), rows[order]


class Decoder:
    """Decodes records of any known writer's schema as records of `reader`.

    `Reader` says of which types the columns are.

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
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None],
        column: pl.Series | None = None,
    ) -> Decoded:
        """Decode a batch: a value and its headers (or None) for each record.

        `column` are the same values as Binary, where somebody has them.

        Refusals have one of `CODES`.
        """
        payloads = Payloads.of(values, column)
        groups, refusals = framing.split(payloads, headers)
        frames, rows = [], []
        for plan, several in self._by_plan(groups).items():
            if isinstance(plan, _Plan):
                frame, good, refused = plan.decode(payloads, [group for _, group in several])
                if frame.height:
                    rows.append(good)
                    frames.append(frame)
            else:
                refused = [(row, *plan) for _, group in several for row in group.rows.tolist()]
            refusals += [
                Refusal(row, "decode", code, message, _id_of(row, several))
                for row, code, message in refused
            ]
        refusals.sort(key=lambda refusal: refusal.row)
        if not frames:
            return Decoded(self._empty, np.zeros(0, np.int64), refusals)
        return Decoded(stacked(frames), np.concatenate(rows), refusals)

    def _by_plan(
        self, groups: dict[SchemaId, list[Group]]
    ) -> dict["_Plan | tuple[str, str]", list[tuple[SchemaId, Group]]]:
        """Put together what is decoded alike: one schema may have several ids.

        The key is what decodes, or the code and message of the refusal of all.
        """
        found: dict[_Plan | tuple[str, str], list[tuple[SchemaId, Group]]] = {}
        for schema_id, several in groups.items():
            key: _Plan | tuple[str, str]
            try:
                plan = self._plan(schema_id)
            except KeyError as error:
                key = "unknown_schema", _unknown(schema_id, error)
            else:
                if isinstance(plan, str):
                    key = "incompatible_schema", f"The writer's schema cannot be read: {plan}."
                else:
                    key = plan
            found.setdefault(key, []).extend((schema_id, group) for group in several)
        return found

    def _plan(self, schema_id: SchemaId) -> "_Plan | str":
        """Return how to decode an id's records, or why none can be; KeyError: no such schema."""
        plan = self._plans.get(schema_id)
        if plan is None:
            plan = self._plan_of(self._lookup(schema_id))
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
        self._needed = self._resolver.needed
        self._bulk: Bulk | NestedBulk | None = None
        for bulk in (Bulk, NestedBulk):
            try:
                self._bulk = bulk(writer.fields)
                break
            except ValueError:
                continue

    def decode(
        self, payloads: Payloads, groups: list[Group]
    ) -> tuple[pl.DataFrame, Int64s, list[Refused]]:
        """Return the good rows' frame, which values they are, and the others."""
        rows = np.zeros(0, np.int64)
        columns: list[WireColumn] | None = None
        if self._bulk is not None:
            columns, rows = self._bulk.decode(payloads, groups)
        refused: list[Refused] = []
        if columns is None or len(rows) < sum(len(group.rows) for group in groups):
            read, good, refused = self._strictly(payloads.values, groups, rows)
            if columns is None or good:
                # Merged only where the bulk decoder left out a good neighbour of a bad one.
                columns = read if columns is None else self._concat(columns, read)
                rows = np.concatenate([rows, np.array(good, np.int64)])
        frame, unreadable = self._resolver.resolve(columns, len(rows))
        if unreadable:
            refused += [
                (int(rows[at]), "incompatible_schema", f"Not a record for the reader: {why}.")
                for at, why in unreadable.items()
            ]
            kept = np.delete(np.arange(len(rows)), list(unreadable))
            frame, rows = frame[kept], rows[kept]
        return frame, rows, refused

    def _strictly(
        self, all_values: list[bytes | None], groups: list[Group], done: Int64s
    ) -> tuple[list[WireColumn], list[int], list[Refused]]:
        """Read what is not done yet one by one."""
        values, good, refused = [], [], []
        for row, skip in _left(groups, done, len(all_values)):
            body = (all_values[row] or b"")[skip:]
            try:
                values.append(self._writer.read(body))
                good.append(row)
            except UnicodeDecodeError:
                refused.append((row, "bad_utf8", "A string is not UTF-8."))
            except MalformedError as error:
                refused.append((row, "malformed", f"Not a record of its schema: {error}."))
        columns = [
            _column(field.wire, [value[i] for value in values])
            if i in self._needed
            else _UNREAD
            for i, field in enumerate(self._writer.fields)
        ]
        return columns, good, refused

    def _concat(self, first: list[WireColumn], second: list[WireColumn]) -> list[WireColumn]:
        return [
            _UNREAD if i not in self._needed
            else pl.concat(pair) if isinstance(pair[0], pl.Series)
            else pa.chunked_array([*pair[0].chunks, *pair[1].chunks], pair[0].type)
            for i, pair in enumerate(zip(first, second, strict=True))
        ]  # fmt: skip


def _column(wire: Wire, values: list[Any]) -> WireColumn:
    if wire.kind in FLAT:
        return pl.Series(values, dtype=WIRE_TYPES[wire.kind])
    return pa.chunked_array([pa.array(values, arrow_of(wire))])


def _unknown(schema_id: SchemaId, error: KeyError) -> str:
    if len(error.args) > 1:
        return f"The schema of this id {error.args[1]}."
    if schema_id == _ID_OF_8_BYTES:
        return (
            "There is no schema of this id. Apicurio's serializers may write ids of 8 bytes, "
            "which begin like it: set their ids to 4 bytes, as Confluent's are."
        )
    return "There is no schema of this id."


def _id_of(row: int, several: list[tuple[SchemaId, Group]]) -> str:
    for schema_id, group in several:
        at = int(np.searchsorted(group.rows, row))
        if at < len(group.rows) and group.rows[at] == row:
            return str(schema_id)
    raise LookupError(f"row {row} is in no group")


def _left(groups: list[Group], done: Int64s, size: int) -> Iterator[tuple[int, int]]:
    """Yield the groups' rows that are not done, and how much to skip of their values."""
    open_ = np.ones(size, np.bool_)
    open_[done] = False
    for group in groups:
        for row in group.rows[open_[group.rows]].tolist():
            yield row, group.skip
