"""Decode batches of framed records: by columns, and strictly one by one what is left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from operators.avro import framing
from operators.avro.compile import compile_record
from operators.avro.drift import Drift, drift_of
from operators.avro.framing import Headers, Lookup, SchemaId
from operators.avro.payloads import Group, Payloads
from operators.avro.plan import Plan
from operators.avro.resolve import Reader
from operators.avro.rest import REST, no_rest
from operators.avro.wire import SchemaError
from operators.columns.arrays import Int64s
from operators.columns.frames import filtered, stacked, taken
from operators.records.rejects import Refusal
from schemas import AvroSchema

_MAX_PLANS = 1024

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


class Drifted(NamedTuple):
    """A drift, which records of a batch have it, and whether it is met for the first time."""

    drift: Drift
    rows: Int64s
    first: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch, decoded.

    `frame` has a column for each of the reader's fields, in its order, and maybe `REST`; `rows`
    (int64) says where in the batch each of its rows was, which are in no order. Every value of the
    batch is either in `rows` or in `refusals` (stage "decode", by row). `drifted` are the schemas
    among them that are no version of the reader's.
    """

    frame: pl.DataFrame
    rows: Int64s
    refusals: list[Refusal]
    drifted: Sequence[Drifted] = ()

    def in_order(self, good: pl.Series | None = None) -> tuple[pl.DataFrame, Int64s]:
        """Return frame and rows in the order of the batch; only the rows that are `good`."""
        rows = self.rows
        if np.all(rows[1:] > rows[:-1]):
            if good is None:
                return self.frame, rows
            return filtered(self.frame, good), rows[good.to_numpy()]
        order = np.argsort(rows, kind="stable")
        if good is not None:
            order = order[good.to_numpy()[order]]
        return taken(self.frame, order), rows[order]


class Decodes(Protocol):
    """Decodes batches, as `Decoder` does; `by_columns` if their values as one column help."""

    by_columns: bool

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None],
        column: pl.Series | None = None,
    ) -> Decoded:
        """Decode a batch."""


class Decoder:
    """Decodes records of any known writer's schema as records of `reader`.

    `Reader` says of which types the columns are.

    `lookup` returns the schema of an id, or raises KeyError if there is none; any other
    error of it passes through `decode`. Found schemas are kept; an id without a schema is
    looked up once in each batch that holds it. A schema that is none of `versions`, of which
    `reader` is the last, is a drift; without them none is. With them frames have a last column,
    `REST`, for what records have beside the reader's fields that drift.
    """

    by_columns = True

    def __init__(
        self, reader: AvroSchema, lookup: Lookup, versions: Sequence[AvroSchema] = ()
    ) -> None:
        self._reader = Reader(reader)
        columns = self._reader.dtypes | ({REST: pl.String()} if versions else {})
        self._empty = pl.DataFrame(schema=columns)
        self._lookup = lookup
        self._plans: dict[SchemaId, Plan | str] = {}
        self._by_schema: dict[str, Plan | str] = {}
        self._versions = versions
        self._drifts: dict[SchemaId, Drift] = {}
        self._new: set[SchemaId] = set()

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
            if isinstance(plan, Plan):
                frame, good, refused = plan.decode(payloads, [group for _, group in several])
                if frame.height:
                    if self._versions and REST not in frame.columns:
                        frame = frame.hstack([no_rest(frame.height)])
                    rows.append(good)
                    frames.append(frame)
            else:
                refused = [(row, *plan) for _, group in several for row in group.rows.tolist()]
            if refused:
                ids, owner = [str(each) for each, _ in several], np.zeros(len(values), np.int64)
                for number, (_, group) in enumerate(several):
                    owner[group.rows] = number
                refusals += [
                    Refusal(row, "decode", code, message, ids[owner[row]])
                    for row, code, message in refused
                ]
        refusals.sort(key=lambda refusal: refusal.row)
        drifted = self._drifted(groups) if self._drifts else ()
        if not frames:
            return Decoded(self._empty, np.zeros(0, np.int64), refusals, drifted)
        return Decoded(stacked(frames), np.concatenate(rows), refusals, drifted)

    def _drifted(self, groups: dict[SchemaId, list[Group]]) -> list[Drifted]:
        found = [
            Drifted(
                self._drifts[each],
                np.concatenate([group.rows for group in several]),
                each in self._new,
            )
            for each, several in groups.items()
            if each in self._drifts
        ]
        self._new.clear()
        return found

    def _by_plan(
        self, groups: dict[SchemaId, list[Group]]
    ) -> dict["Plan | tuple[str, str]", list[tuple[SchemaId, Group]]]:
        """Put together what is decoded alike: one schema may have several ids.

        The key is what decodes, or the code and message of the refusal of all.
        """
        found: dict[Plan | tuple[str, str], list[tuple[SchemaId, Group]]] = {}
        for schema_id, several in groups.items():
            key: Plan | tuple[str, str]
            try:
                plan = self._plan(schema_id)
            except KeyError as error:
                key = "unknown_schema", framing.unknown(schema_id, error)
            else:
                if isinstance(plan, str):
                    key = "incompatible_schema", f"The writer's schema cannot be read: {plan}."
                else:
                    key = plan
            found.setdefault(key, []).extend((schema_id, group) for group in several)
        return found

    def _plan(self, schema_id: SchemaId) -> "Plan | str":
        """Return how to decode an id's records, or why none can be; KeyError: no such schema."""
        plan = self._plans.get(schema_id)
        if plan is None:
            schema = self._lookup(schema_id)
            plan = self._plan_of(schema)
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
                self._by_schema.clear()
                self._drifts.clear()
            self._plans[schema_id] = plan
            if self._versions:
                why = plan if isinstance(plan, str) else ""
                drift = drift_of(schema_id, schema, self._versions, why)
                if drift is not None:
                    if isinstance(plan, Plan):
                        drift = replace(drift, lost=tuple(plan.keep_rest().lost))
                    self._drifts[schema_id] = drift
                    self._new.add(schema_id)
        return plan

    def _plan_of(self, schema: AvroSchema) -> "Plan | str":
        text = json.dumps(schema, sort_keys=True)
        plan = self._by_schema.get(text)
        if plan is None:
            try:
                plan = Plan(compile_record(schema), self._reader)
            except SchemaError as error:
                plan = str(error)
            self._by_schema[text] = plan
        return plan
