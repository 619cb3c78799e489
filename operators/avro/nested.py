"""Decode many bodies of one nested schema in one call, and leave out those that are not good.

As in `bulk`, pyruhvro is given a schema of the wire's types only. Bytes are told as strings, whose
UTF-8 it does not look at, fixed as records of floats of four bytes, maps as arrays of entries,
and each type of a union as a record of its own: all lie the same. What comes back is checked; a
call that a bad body spoils is made again without those that `scan_nested` finds.
"""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from operators.avro.bulk import BEFORE, WORDS, pieces
from operators.avro.kinds import MOST_SWELL, arrow_of
from operators.avro.payloads import Group, Payloads
from operators.avro.resolve import FLAT, WireColumn
from operators.avro.scan_nested import well_formed
from operators.avro.wire import INT_MAX, INT_MIN, Field, Wire
from operators.columns.arrays import Int64s

_MOST_LEAVES: Final = 2_000
_MOST_DEPTH: Final = 40
_MOST_FIXED: Final = 256
_AT_ONCE: Final = 256
"""Records that are read strictly together where one of them is bad and was not found to be."""
_TYPES: Final = {**WORDS, "null": "null", "bytes": "string"}


class _UnfitError(ValueError):
    """An array has a value that its type does not."""


class NestedBulk:
    """The columnar decoder of one writer's schema. Raises ValueError if it cannot be one."""

    def __init__(self, fields: Sequence[Field]) -> None:
        if not fields or sum(field.wire.leaves for field in fields) > _MOST_LEAVES:
            raise ValueError("not a schema of so many fields")
        if any(field.wire.swell > MOST_SWELL for field in fields):
            raise ValueError("not a schema whose records could fill the memory")
        self._wary = False
        self._wires = [field.wire for field in fields]
        self._types = [arrow_of(wire) for wire in self._wires]
        names = count()
        types = [_told(wire, names) for wire in self._wires]
        self._schemas = {
            skip: json.dumps(_record("Wire", [*before, *types]))
            for skip, before in BEFORE.items()
        }

    def decode(
        self, payloads: Payloads, groups: Sequence[Group]
    ) -> tuple[list[WireColumn], Int64s]:
        """Return a column per field, and which values their rows are.

        What is left out is not good, or stands beside what is not.
        """
        made: list[tuple[Int64s, list[Any]]] = []
        for group in groups:
            self._parts(payloads, group, made)
        columns: list[WireColumn] = []
        for number, wire in enumerate(self._wires):
            chunks = [arrays[number] for _, arrays in made]
            column = pa.chunked_array(chunks, self._types[number])
            columns.append(pl.Series(column) if wire.kind in FLAT else column)
        return columns, np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in made)])

    def _parts(
        self, payloads: Payloads, group: Group, made: list[tuple[Int64s, list[Any]]]
    ) -> None:
        for rows in pieces(payloads, group.rows):
            # Bad records come again: after some, the call that they would spoil is left out.
            if not self._wary and self._made(payloads, rows, group.skip, made):
                continue
            starts, ends = payloads.starts[rows] + group.skip, payloads.ends[rows]
            good = well_formed(payloads.data, starts, ends, self._wires)
            self._wary = not good.all()
            some = rows[good]
            if self._made(payloads, some, group.skip, made):
                continue
            # Text that is no UTF-8, mostly.
            for part in np.array_split(some, -(-len(some) // _AT_ONCE)):
                self._made(payloads, part, group.skip, made)

    def _made(
        self, payloads: Payloads, rows: Int64s, skip: int, made: list[tuple[Int64s, list[Any]]]
    ) -> bool:
        if not len(rows):
            return True
        arrays = self._attempt([payloads.values[row] for row in rows.tolist()], skip)
        if arrays is not None:
            made.append((rows, arrays))
        return arrays is not None

    def _attempt(self, values: list[Any], skip: int) -> list[Any] | None:
        """Return an array per field, or None if any body is bad."""
        try:
            batch = pyruhvro.deserialize_array(values, self._schemas[skip])
            arrays = batch.columns[len(BEFORE[skip]) :]
            pairs = zip(arrays, self._wires, strict=True)
            arrays = [_normal(array, wire) for array, wire in pairs]
            for array in arrays:
                array.validate(full=True)  # UTF-8
        except ValueError:
            return None
        except BaseException as error:
            # pyo3's is not an Exception, and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return None
        return arrays


def _record(name: str, types: Sequence[Any]) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def _told(wire: Wire, names: Any) -> Any:
    """Return a type as pyruhvro is told it."""
    if wire.kind in _TYPES:
        kind: Any = _TYPES[wire.kind]
    elif wire.kind == "fixed":
        if wire.size % 4 or not 0 < wire.size <= _MOST_FIXED:
            raise ValueError("no number of floats")
        kind = _record(f"R{next(names)}", ["float"] * (wire.size // 4))
    elif wire.depth > _MOST_DEPTH:
        raise ValueError("too deep")
    else:
        parts = [_told(part.wire, names) for part in wire.parts]
        if wire.kind == "union":
            if len(parts) < 2:
                raise ValueError("a union of less than two")
            return [k if k == "null" else _record(f"R{next(names)}", [k]) for k in parts]
        if wire.kind == "array":
            kind = {"type": "array", "items": parts[0]}
        else:
            if not parts:
                raise ValueError("a record of nothing")
            kind = _record(f"R{next(names)}", parts)
            if wire.kind == "map":
                kind = {"type": "array", "items": kind}
    if wire.null_first is None:
        return kind
    return ["null", kind] if wire.null_first else [kind, "null"]


def _normal(array: Any, wire: Wire) -> Any:
    """Return what came back as `arrow_of` says; raises _UnfitError for what is none of its type."""
    if wire.kind in ("int", "enum"):
        low, high = (INT_MIN, INT_MAX) if wire.kind == "int" else (0, len(wire.symbols) - 1)
        values = pl.Series(array)
        if not values.is_between(low, high).all():
            raise _UnfitError
        return array
    if wire.kind in _TYPES:
        return array.view(pa.binary()) if wire.kind == "bytes" else array
    if wire.kind == "union":
        return _choices(array, wire)
    missing = array.is_null()
    if wire.kind == "fixed":
        return _fixed(array, wire.size, missing)
    if wire.kind == "record":
        return _struct(array, wire, missing)
    items = array.values
    inner = (
        _normal(items, wire.parts[0].wire)
        if wire.kind == "array"
        else _struct(items, wire, items.is_null())
    )
    offsets = pa.array(np.asarray(array.offsets))
    return pa.ListArray.from_arrays(offsets, inner, mask=missing)


def _struct(array: Any, wire: Wire, missing: Any) -> Any:
    children = [_normal(array.field(i), part.wire) for i, part in enumerate(wire.parts)]
    names = [part.name for part in wire.parts]
    return pa.StructArray.from_arrays(children, names=names, mask=missing)


def _fixed(array: Any, size: int, missing: Any) -> Any:
    places = [array.field(number) for number in range(size // 4)]
    raw = [
        np.frombuffer(each.buffers()[1], np.uint32)[each.offset : each.offset + len(each)]
        for each in places
    ]
    data = np.stack(raw, axis=1).tobytes()
    offsets = np.arange(0, (len(array) + 1) * size, size, dtype=np.int32)
    valid = ~np.asarray(missing.to_numpy(zero_copy_only=False))
    buffers = [
        pa.py_buffer(np.packbits(valid, bitorder="little").tobytes()),
        pa.py_buffer(offsets.tobytes()),
        pa.py_buffer(data),
    ]
    return pa.Array.from_buffers(pa.binary(), len(array), buffers)


def _choices(array: Any, wire: Wire) -> Any:
    """Return a union's values as a struct in which the one that was written is set."""
    # Making its functions takes as long as all else that PyArrow does at a start.
    import pyarrow.compute as pc

    codes = np.asarray(array.type_codes)
    children, missing = [], np.zeros(len(array), np.bool_)
    for number, part in enumerate(wire.parts):
        chosen = codes == number
        if part.wire.kind == "null":
            missing |= chosen
            children.append(pa.nulls(len(array)))
            continue
        child = _normal(array.field(number).field(0), part.wire)
        children.append(pc.if_else(pa.array(chosen), child, pa.scalar(None, child.type)))
    names = [part.name for part in wire.parts]
    return pa.StructArray.from_arrays(children, names=names, mask=pa.array(missing))
