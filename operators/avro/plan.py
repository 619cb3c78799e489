"""The plan of one writer: its records by columns, and strictly one by one what is left."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from operators.avro.bulk import Bulk
from operators.avro.compile import Record
from operators.avro.kinds import arrow_of
from operators.avro.nested import NestedBulk
from operators.avro.payloads import Group, Payloads
from operators.avro.resolve import FLAT, WIRE_TYPES, Reader, Resolver, WireColumn
from operators.avro.rest import Rest
from operators.avro.wire import MalformedError, Wire
from operators.columns.arrays import Int64s

_UNREAD: Final = pl.Series(dtype=pl.Null())

Refused = tuple[int, str, str]  # row, code, message


class Plan:
    """How to decode the records of one writer."""

    def __init__(self, writer: Record, reader: Reader) -> None:
        self._writer = writer
        self._resolver = Resolver(writer, reader)
        self._needed = self._resolver.needed
        self._rest: Rest | None = None
        self._bulk: Bulk | NestedBulk | None = None
        for bulk in (Bulk, NestedBulk):
            try:
                self._bulk = bulk(writer.fields)
                break
            except ValueError:
                continue

    def keep_rest(self) -> Rest:
        """From now on keep what the reader does not have, in the column `REST`; return what is."""
        if self._rest is None:
            self._rest = Rest(self._writer, self._needed)
            self._needed |= self._rest.needed
        return self._rest

    def decode(
        self, payloads: Payloads, groups: list[Group]
    ) -> tuple[pl.DataFrame, Int64s, list[Refused]]:
        """Return the good rows' frame, which values they are, and the others.

        The frame has what is read, and `REST` where that is kept.
        """
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
        if self._rest is not None:
            frame = frame.hstack([self._rest.texts(columns, len(rows))])
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


def _left(groups: list[Group], done: Int64s, size: int) -> Iterator[tuple[int, int]]:
    """Yield the groups' rows that are not done, and how much to skip of their values."""
    open_ = np.ones(size, np.bool_)
    open_[done] = False
    for group in groups:
        for row in group.rows[open_[group.rows]].tolist():
            yield row, group.skip
