"""Decode many bodies of one nested schema in one call, and leave out those that are not good.

As in `bulk`, pyruhvro is given a schema of the wire's types only. Bytes are told as strings, whose
UTF-8 it does not look at, fixed as records of floats of four bytes, maps as arrays of entries,
and each type of a union as a record of its own: all lie the same. What comes back is checked value
by value; a call that a bad body spoils is made again without those that `scan` finds.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from operators.avro.bulk import BEFORE, WORDS, picked, pieces
from operators.avro.kinds import MOST_SWELL, arrow_of
from operators.avro.payloads import Group, Payloads
from operators.avro.resolve import FLAT, WireColumn
from operators.avro.scan import well_formed
from operators.avro.utf8 import bad_texts
from operators.avro.wire import INT_MAX, INT_MIN, Field, Wire
from operators.columns.arrays import Bools, Int64s

_MOST_LEAVES: Final = 2_000
_MOST_DEPTH: Final = 40
_MOST_FIXED: Final = 256
_AT_ONCE: Final = 256
"""Records that are read strictly together where one of them is bad and the scan missed it."""
_TYPES: Final = {**WORDS, "null": "null", "bytes": "string"}
_Checked: TypeAlias = tuple[Any, Bools | None]
"""An array, and which of its values are bad; None for none."""


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
            # The scan missed one: that costs time, nothing else.
            for part in np.array_split(some, -(-len(some) // _AT_ONCE)):
                self._made(payloads, part, group.skip, made)

    def _made(
        self, payloads: Payloads, rows: Int64s, skip: int, made: list[tuple[Int64s, list[Any]]]
    ) -> bool:
        if not len(rows):
            return True
        found = self._attempt(picked(payloads.values, rows), skip)
        if found is None:
            return False
        arrays, bad = found
        if bad is not None:
            good = pa.array(~bad)
            arrays, rows = [array.filter(good) for array in arrays], rows[~bad]
        made.append((rows, arrays))
        return True

    def _attempt(self, values: list[Any], skip: int) -> tuple[list[Any], Bools | None] | None:
        """Return an array per field and which values are bad, None if that spoils the call."""
        try:
            batch = pyruhvro.deserialize_array(values, self._schemas[skip])
        except ValueError:
            return None
        except BaseException as error:
            # pyo3's is not an Exception, and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return None
        arrays = batch.columns[len(BEFORE[skip]) :]
        pairs = [_normal(*each) for each in zip(arrays, self._wires, strict=True)]
        return [array for array, _ in pairs], _either(bad for _, bad in pairs)


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


def _normal(array: Any, wire: Wire) -> _Checked:
    """Return what came back as `arrow_of` says, and which values have what none of it has."""
    if wire.kind in ("int", "enum"):
        low, high = (INT_MIN, INT_MAX) if wire.kind == "int" else (0, len(wire.symbols) - 1)
        inside = pl.Series(array).is_between(low, high)
        return array, None if inside.all() else ~inside.fill_null(value=True).to_numpy()
    if wire.kind == "string":
        return array, _flags(bad_texts(array), len(array))
    if wire.kind in _TYPES:
        return array.view(pa.binary()) if wire.kind == "bytes" else array, None
    if wire.kind == "union":
        return _choices(array, wire)
    missing = array.is_null()
    if wire.kind == "fixed":
        return _fixed(array, wire.size, missing), None
    if wire.kind == "record":
        return _struct(array, wire, missing)
    items = array.values
    inner, bad = (
        _normal(items, wire.parts[0].wire)
        if wire.kind == "array"
        else _struct(items, wire, items.is_null())
    )
    cuts = np.asarray(array.offsets)
    made = pa.ListArray.from_arrays(pa.array(cuts), inner, mask=missing)
    if bad is None:
        return made, None
    before = np.concatenate([[0], np.cumsum(bad)])
    return made, before[cuts[1:]] > before[cuts[:-1]]


def _flags(rows: Int64s, size: int) -> Bools | None:
    if not len(rows):
        return None
    found = np.zeros(size, np.bool_)
    found[rows] = True
    return found


def _either(flags: Iterable[Bools | None]) -> Bools | None:
    found = [each for each in flags if each is not None]
    return np.logical_or.reduce(found) if found else None


def _struct(array: Any, wire: Wire, missing: Any) -> _Checked:
    pairs = [_normal(array.field(i), part.wire) for i, part in enumerate(wire.parts)]
    names = [part.name for part in wire.parts]
    children = [child for child, _ in pairs]
    made = pa.StructArray.from_arrays(children, names=names, mask=missing)
    return made, _either(bad for _, bad in pairs)


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


def _choices(array: Any, wire: Wire) -> _Checked:
    """Return a union's values as a struct in which the one that was written is set."""
    # Making its functions takes as long as all else that PyArrow does at a start.
    import pyarrow.compute as pc

    codes = np.asarray(array.type_codes)
    children, missing = [], np.zeros(len(array), np.bool_)
    flags: list[Bools | None] = []
    for number, part in enumerate(wire.parts):
        chosen = codes == number
        if part.wire.kind == "null":
            missing |= chosen
            children.append(pa.nulls(len(array)))
            continue
        child, bad = _normal(array.field(number).field(0), part.wire)
        flags.append(bad)
        children.append(pc.if_else(pa.array(chosen), child, pa.scalar(None, child.type)))
    names = [part.name for part in wire.parts]
    made = pa.StructArray.from_arrays(children, names=names, mask=pa.array(missing))
    return made, _either(flags)
