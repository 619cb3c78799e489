"""Decode many bodies of one schema in one call, and find those that such a call must not see.

pyruhvro fails as a whole if one body is bad, and looks neither at UTF-8 (on which Polars
panics) nor at the range of ints. So it is given a schema of the wire's types only (no
`int`, no `enum`, no logical types), and what it returns is checked by columns.
"""

import json
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from operators.avro.payloads import Group, Payloads
from operators.avro.scan import well_formed
from operators.avro.utf8 import bad_texts
from operators.avro.wire import INT_MAX, INT_MIN, Field
from operators.columns.arrays import Bools, Int64s

# On bytes and fixed it panics.
WORDS = {
    "boolean": "boolean",
    "int": "long",
    "long": "long",
    "enum": "long",
    "float": "float",
    "double": "double",
    "string": "string",
}
"""pyruhvro's word for each kind that it decodes exactly."""
# Arrow's strings end at 2 GiB a column, and pyruhvro panics there. No batch comes near it.
_PIECE_BYTES = 1 << 30
# Fewer than one in so many are picked each, for less than passing over all of them takes.
_FEW = 3


# What stands before a body is read as well, as fields of its length: cutting it off each value
# would take longer than reading it.
BEFORE: dict[int, list[str]] = {
    0: [],
    5: ["boolean", "float"],
    17: ["boolean", "double", "double"],
}


class Bulk:
    """The columnar decoder of one writer's schema. Raises ValueError if it cannot be one."""

    def __init__(self, fields: Sequence[Field]) -> None:
        if not fields or any(field.wire.kind not in WORDS for field in fields):
            raise ValueError("not a schema of flat fields")
        self._wires = [field.wire for field in fields]
        self._bounds = [_bounds(field) for field in fields]
        types = [_union(WORDS[wire.kind], wire.null_first) for wire in self._wires]
        self._schemas = {skip: _schema(before, types) for skip, before in BEFORE.items()}
        self._wary = False

    def decode(
        self, payloads: Payloads, groups: Sequence[Group]
    ) -> tuple[list[pl.Series], Int64s]:
        """Return a column per field, of `WIREWORDS`, and which values their rows are.

        What is left out is not good, or not surely so.
        """
        # Bad records come again: after some, the attempt that they would spoil is left out.
        batches = None if self._wary else self._attempt(payloads, groups)
        if batches is None:
            groups = self._scanned(payloads, groups)
            batches = self._attempt(payloads, groups)
        if batches is None:  # the scan missed one: that costs time, nothing else
            groups = [Group(np.zeros(0, np.int64), 0)]
            batches = self._attempt(payloads, groups) or []
        rows = np.concatenate([group.rows for group in groups])
        texts, good = _readable(pa.Table.from_batches(batches).columns)
        columns = [pl.Series(column) for column in texts]
        if not good.all():
            mask = pl.Series(good)
            columns, rows = [column.filter(mask) for column in columns], rows[good]
        return self._bounded(columns, rows)

    def _scanned(self, payloads: Payloads, groups: Sequence[Group]) -> list[Group]:
        starts = np.concatenate([payloads.starts[rows] + skip for rows, skip in groups])
        ends = np.concatenate([payloads.ends[rows] for rows, _ in groups])
        good = well_formed(payloads.data, starts, ends, self._wires)
        self._wary = not good.all()
        cuts = np.cumsum([len(rows) for rows, _ in groups])
        flags = np.split(good, cuts[:-1])
        return [Group(g.rows[f], g.skip) for g, f in zip(groups, flags, strict=True)]

    def _attempt(self, payloads: Payloads, groups: Sequence[Group]) -> list[Any] | None:
        """Return record batches of the groups' rows in turn, or None if any body is bad."""
        made = []
        try:
            for group in groups:
                for rows in pieces(payloads, group.rows):
                    values = picked(payloads.values, rows)
                    batch = pyruhvro.deserialize_array(values, self._schemas[group.skip])
                    before = len(BEFORE[group.skip])
                    made.append(batch.select(batch.schema.names[before:]) if before else batch)
        except ValueError:
            return None
        except BaseException as error:
            # pyo3's is not an Exception, and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return None
        return made

    def _bounded(
        self, columns: list[pl.Series], rows: Int64s
    ) -> tuple[list[pl.Series], Int64s]:
        """Leave out the rows in which an int or an enum's index is out of its range."""
        good: pl.Series | None = None
        for column, bounds in zip(columns, self._bounds, strict=True):
            if bounds is None or _within(column, *bounds):
                continue
            inside = column.is_between(*bounds).fill_null(value=True)
            good = inside if good is None else good & inside
        if good is None:
            return columns, rows
        return [column.filter(good) for column in columns], rows[good.to_numpy()]


def picked(values: list[bytes | None], rows: Int64s) -> list[bytes | None]:
    """Return the values at some rows, ascending."""
    if len(rows) == len(values):
        return values
    if _FEW * len(rows) < len(values):
        return list(map(values.__getitem__, rows.tolist()))
    mask = np.zeros(len(values), np.bool_)
    mask[rows] = True
    return list(compress(values, mask.tolist()))


def _schema(before: list[str], types: list[str | list[str]]) -> str:
    fields = [
        *({"name": f"b{i}", "type": kind} for i, kind in enumerate(before)),
        *({"name": f"f{i}", "type": kind} for i, kind in enumerate(types)),
    ]
    return json.dumps({"type": "record", "name": "Wire", "fields": fields})


def _union(kind: str, null_first: bool | None) -> str | list[str]:
    if null_first is None:
        return kind
    return ["null", kind] if null_first else [kind, "null"]


def _bounds(field: Field) -> tuple[int, int] | None:
    if field.wire.kind == "enum":
        return 0, len(field.wire.symbols) - 1
    return (INT_MIN, INT_MAX) if field.wire.kind == "int" else None


def _within(column: pl.Series, low: int, high: int) -> bool:
    least, most = column.min(), column.max()
    return least is None or (low <= int(least) and int(most) <= high)  # type: ignore[arg-type]


def pieces(payloads: Payloads, rows: Int64s) -> list[Int64s]:
    """Cut into runs of at most `_PIECE_BYTES` each, a longer value alone; at least one run."""
    sizes = payloads.ends[rows] - payloads.starts[rows]
    sums = np.cumsum(sizes)
    if not len(rows) or sums[-1] <= _PIECE_BYTES:
        return [rows]
    cuts, start = [], 0
    while start < len(rows):
        before = sums[start] - sizes[start]
        start = max(int(np.searchsorted(sums, before + _PIECE_BYTES, "right")), start + 1)
        cuts.append(start)
    return np.split(rows, cuts[:-1])


def _readable(columns: Sequence[Any]) -> tuple[list[Any], Bools]:
    """Return Arrow columns with null for strings that are not UTF-8, and which rows had none."""
    good = np.ones(len(columns[0]), np.bool_)
    clean = []
    for column in columns:
        if pa.types.is_string(column.type):
            chunks, first = [], 0
            for chunk in column.chunks:
                bad = bad_texts(chunk)
                good[bad + first] = False
                first += len(chunk)
                chunks.append(_without(chunk, bad) if len(bad) else chunk)
            column = pa.chunked_array(chunks, column.type)
        clean.append(column)
    return clean, good


def _without(strings: Any, rows: Int64s) -> Any:
    """Return strings with null in some rows.

    By its buffers: to make PyArrow's functions takes as long as all else that it does at a start.
    """
    valid, *rest = strings.buffers()
    size = strings.offset + len(strings)
    bits = np.ones(size, np.uint8)
    if valid is not None:
        bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[:size]
    bits[rows + strings.offset] = 0
    packed = pa.py_buffer(np.packbits(bits, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        strings.type, len(strings), [packed, *rest], offset=strings.offset
    )
