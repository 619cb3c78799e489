"""Resolution inside nested types: arrays of what is written as arrays of what is read.

Source: the Avro 1.12 specification, "Schema Resolution". A `Reading` is made once of the two types
and reads whole Arrow arrays; beside the values it says which of them the reader cannot hold, and
one such anywhere inside makes its whole record one.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from operators.avro.defaults import lies
from operators.avro.kinds import arrow_of, arrow_type, branches, dtype_of, refuse_vast
from operators.avro.leaves import present, same_logical, symbols_of, values_of
from operators.avro.wire import Field, SchemaError, Wire
from operators.columns.arrays import Bools

PROMOTIONS: Final = {
    "int": {"int"},
    "long": {"int", "long"},
    "float": {"int", "long", "float"},
    "double": {"int", "long", "float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
    "boolean": {"boolean"},
    "enum": {"enum"},
    "fixed": {"fixed"},
}


class Reading(Protocol):
    """Reads an array as the reader's type: its values, and which of them are none."""

    def read(self, array: Any) -> tuple[Any, Bools]:
        """Return values, and a flag for each that the reader cannot hold."""


def reading(
    written: Wire, read: Wire, name: str, lacks: list[str], optional: bool = False
) -> Reading:
    """Return how values written as one type are read as another.

    Raises SchemaError if none can be; what of them can't be is added to `lacks`. A null is fine
    where it is `optional`, whatever the types say.
    """
    refuse_vast(written, name)
    nullable = optional or read.null_first is not None
    if written.kind == "null" and nullable:
        return _Null(read, name)
    if written.null_first is not None and not nullable:
        lacks.append(f"field {name}: may be written as null, read as never null")
    if read.kind == "union":
        return _Union(written, read, name, lacks, nullable)
    if written.kind == "union":
        return _OneOf(written, read, name, lacks, nullable)
    if read.kind in PROMOTIONS:
        return _Leaf(written, read, name, lacks, nullable)
    if written.kind != read.kind:
        raise SchemaError(f"field {name}: written as {written.kind}, read as {read.kind}")
    if read.kind == "record":
        _named_alike(written, read, name)
        return _Record(written, read, name, lacks, nullable)
    if read.kind == "array":
        place = f"{name}[]"
        items = reading(written.parts[0].wire, read.parts[0].wire, place, lacks)
    elif read.kind == "map":
        items = _Record(written, read, name, lacks, nullable=False)
    else:
        raise SchemaError(f"field {name}: a column cannot hold the type {read.kind}")
    return _List(items, nullable)


class _Null:
    def __init__(self, read: Wire, name: str) -> None:
        self._type = arrow_type(dtype_of(read, name))

    def read(self, array: Any) -> tuple[Any, Bools]:
        return pa.nulls(len(array), self._type), np.zeros(len(array), np.bool_)


class _Leaf:
    def __init__(
        self, written: Wire, read: Wire, name: str, lacks: list[str], nullable: bool
    ) -> None:
        if written.kind not in PROMOTIONS[read.kind]:
            raise SchemaError(f"field {name}: written as {written.kind}, read as {read.kind}")
        same_logical(written, read, name)
        if read.kind == "fixed":
            _named_alike(written, read, name)
            if written.size != read.size:
                sizes = f"written as {written.size} bytes, read as {read.size}"
                raise SchemaError(f"field {name}: {sizes}")
        self._wire, self._dtype, self._nullable = read, dtype_of(read, name), nullable
        self._symbols = symbols_of(written, read, name, lacks)

    def read(self, array: Any) -> tuple[Any, Bools]:
        values = values_of(array, self._wire, self._symbols, self._dtype)
        lost = ~present(values)
        return values, lost & present(array) if self._nullable else lost


class _Record:
    """Also a map's entries, which are records of key and value."""

    def __init__(
        self, written: Wire, read: Wire, name: str, lacks: list[str], nullable: bool
    ) -> None:
        self._nullable = nullable
        self._parts: list[tuple[str, int, Reading | None, Any]] = []
        for part in read.parts:
            place = f"{name}.{part.name}"
            source = source_of(part, written.parts)
            if source is not None:
                inner = reading(written.parts[source].wire, part.wire, place, lacks)
                self._parts.append((part.name, source, inner, None))
            elif "default" in part.schema:
                value = default_of(part.wire, part.schema["default"], place)
                self._parts.append((part.name, 0, None, value))
            else:
                raise SchemaError(f"field {place}: not written, and has no default")

    def read(self, array: Any) -> tuple[Any, Bools]:
        there = present(array)
        lost = np.zeros(len(array), np.bool_) if self._nullable else ~there
        children = []
        for _, source, inner, value in self._parts:
            if inner is None:
                child = value.take(pa.array(np.zeros(len(array), np.int64)))
            else:
                child, bad = inner.read(array.field(source))
                lost |= bad & there
            children.append(child)
        names = [name for name, *_ in self._parts]
        return pa.StructArray.from_arrays(children, names=names, mask=pa.array(~there)), lost


class _List:
    def __init__(self, items: Reading, nullable: bool) -> None:
        self._items, self._nullable = items, nullable

    def read(self, array: Any) -> tuple[Any, Bools]:
        there = present(array)
        cuts = np.asarray(array.offsets)
        values, bad = self._items.read(array.values)
        before = np.concatenate([[0], np.cumsum(bad)])
        lost = (before[cuts[1:]] > before[cuts[:-1]]) & there
        kind = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
        made = kind.from_arrays(pa.array(cuts), values, mask=pa.array(~there))
        return made, lost if self._nullable else lost | ~there


class _Union:
    """A reader's union of several types: a struct in which the one that was written is set."""

    def __init__(
        self, written: Wire, read: Wire, name: str, lacks: list[str], nullable: bool
    ) -> None:
        self._nullable, self._several = nullable, written.kind == "union"
        wanted = branches(read)
        self._types = {each: arrow_type(dtype_of(w, name)) for each, w in wanted.items()}
        parts = [p.wire for p in written.parts] if self._several else [written]
        self._sources: dict[str, tuple[int, Reading]] = {}
        self._gone: list[int] = []
        for number, part in enumerate(parts):
            if part.kind == "null":
                continue
            found = _branch(part, wanted, name)
            if found is None:
                self._gone.append(number)
                lacks.append(_unread(name, part))
                continue
            into, inner, missing = found
            if into in self._sources:
                raise SchemaError(f"field {name}: two written types are read as {into}")
            self._sources[into] = number, inner
            lacks += missing
        if not self._sources:
            raise _none_read(name, parts, ", ".join(wanted))

    def read(self, array: Any) -> tuple[Any, Bools]:
        there = present(array)
        lost = np.zeros(len(array), np.bool_) if self._nullable else ~there
        children = []
        for name, kind in self._types.items():
            if name in self._sources:
                number, inner = self._sources[name]
                child, bad = inner.read(array.field(number) if self._several else array)
                lost |= bad & there
            else:
                child = pa.nulls(len(array), kind)
            children.append(child)
        for number in self._gone:
            lost |= present(array.field(number)) & there
        names = list(self._types)
        return pa.StructArray.from_arrays(children, names=names, mask=pa.array(~there)), lost


class _OneOf:
    """A writer's union read as one type: the branch that was written decides of each value."""

    def __init__(
        self, written: Wire, read: Wire, name: str, lacks: list[str], nullable: bool
    ) -> None:
        self._nullable = nullable
        self._sources: list[tuple[int, Reading]] = []
        self._gone: list[int] = []
        parts = [p.wire for p in written.parts]
        for number, part in enumerate(parts):
            if part.kind == "null":
                continue
            missing: list[str] = []
            try:
                inner = reading(part, read, name, missing, optional=True)
            except SchemaError:
                self._gone.append(number)
                lacks.append(_unread(name, part))
            else:
                self._sources.append((number, inner))
                lacks += missing
        if not self._sources:
            raise _none_read(name, parts, read.kind)

    def read(self, array: Any) -> tuple[Any, Bools]:
        there = present(array)
        lost = np.zeros(len(array), np.bool_) if self._nullable else ~there
        for number in self._gone:
            lost |= present(array.field(number)) & there
        made: list[Any] = []
        chosen = np.full(len(array), -1)
        for place, (number, inner) in enumerate(self._sources):
            written = array.field(number)
            values, bad = inner.read(written)
            made.append(values if not made else values.cast(made[0].type))
            mine = present(written) & there
            lost |= bad & mine
            chosen[mine] = place * len(array) + np.flatnonzero(mine)
        taken = pa.array(np.maximum(chosen, 0), mask=chosen < 0)
        return pa.concat_arrays(made).take(taken), lost


def _unread(name: str, part: Wire) -> str:
    return f"field {name}: may be written as {part.kind}, which is not read"


def _none_read(name: str, parts: Sequence[Wire], read: str) -> SchemaError:
    kinds = ", ".join(part.kind for part in parts)
    return SchemaError(f"field {name}: written as {kinds}, read as {read}")


def _branch(
    written: Wire, wanted: dict[str, Wire], name: str
) -> tuple[str, Reading, list[str]] | None:
    """Return the reader's branch for a written type: its own kind, else the first that reads it."""
    alike = sorted(wanted.items(), key=lambda each: each[1].kind != written.kind)
    for into, wire in alike:
        lacks: list[str] = []
        try:
            return into, reading(written, wire, f"{name}.{into}", lacks, optional=True), lacks
        except SchemaError:
            continue
    return None


def _named_alike(written: Wire, read: Wire, name: str) -> None:
    names = {each.rpartition(".")[2] for each in (read.name, *read.aliases)}
    was = written.name.rpartition(".")[2]
    if was not in names:
        raise SchemaError(f"field {name}: written as {was}, read as {read.name}")


def source_of(field: Field, written: Sequence[Field]) -> int | None:
    """Return which of the written fields a field is, by its name or an alias."""
    names = [field.name, *field.schema.get("aliases", ())]
    return next((i for name in names for i, f in enumerate(written) if f.name == name), None)


def default_of(wire: Wire, value: Any, name: str) -> Any:
    """Return an array of one value, a field's default as JSON.

    Raises ValueError for one that is none of its type.
    """
    try:
        array = pa.array([lies(value, wire)], arrow_of(wire))
    except (ValueError, TypeError, KeyError, AttributeError):
        array = None
    if array is not None:
        values, bad = reading(wire, wire, name, []).read(array)
        if not bad.any():
            return values
    raise ValueError(f"field {name}: its default is none of its type")
