"""Decode many bodies of one schema in one call, and find those that such a call must not see.

pyruhvro fails as a whole if one body is bad, and looks neither at UTF-8 (on which Polars
panics) nor at the range of ints. So it is given a schema of the wire's types only (no
`int`, no `enum`, no logical types), and what it returns is checked by columns.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyruhvro

from operators.avro.compile import Field
from operators.avro.scan import well_formed
from operators.avro.wire import INT_MAX, INT_MIN

Rows = npt.NDArray[np.int64]

# pyruhvro's word for each kind that it decodes exactly. On bytes and fixed it panics.
_TYPES = {
    "boolean": "boolean",
    "int": "long",
    "long": "long",
    "enum": "long",
    "float": "float",
    "double": "double",
    "string": "string",
}
# Arrow's strings end at 2 GiB a column, and pyruhvro panics there. No batch comes near it.
_PIECE_BYTES = 1 << 30


class Bulk:
    """The columnar decoder of one writer's schema. Raises ValueError if it cannot be one."""

    def __init__(self, fields: Sequence[Field]) -> None:
        if not fields or any(field.wire.kind not in _TYPES for field in fields):
            raise ValueError("not a schema of flat fields")
        self._wires = [field.wire for field in fields]
        self._bounds = [_bounds(field) for field in fields]
        types = [(field.wire, _TYPES[field.wire.kind]) for field in fields]
        schema = {
            "type": "record",
            "name": "Wire",
            "fields": [
                {"name": f"f{i}", "type": _union(kind, wire.null_first)}
                for i, (wire, kind) in enumerate(types)
            ],
        }
        self._schema = json.dumps(schema)
        self._wary = False

    def decode(self, bodies: list[bytes]) -> tuple[list[pl.Series], Rows | None]:
        """Return a column per field, of `WIRE_TYPES`, and which of `bodies` their rows are.

        None stands for all of them. What is left out is not good, or not surely so.
        """
        rows: Rows | None = None
        # Bad records come again: after some, the attempt that they would spoil is left out.
        batches = None if self._wary else self._attempt([bodies])
        if batches is None:
            rows = np.flatnonzero(well_formed(bodies, self._wires))
            self._wary = len(rows) < len(bodies)
            good = [bodies[row] for row in rows.tolist()] if self._wary else bodies
            rows = rows if self._wary else None
            batches = self._attempt(_pieces(good))
        if batches is None:  # the scan missed one: that costs time, nothing else
            rows, batches = np.zeros(0, np.int64), self._attempt([[]]) or []
        table = pa.Table.from_batches(batches)
        bad_text = _bad_text(table)
        if bad_text:
            rows = np.arange(len(bodies)) if rows is None else rows
            kept = np.delete(np.arange(len(rows)), bad_text)
            table, rows = table.take(kept), rows[kept]
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - for mypy: a table is a frame
        return self._bounded(frame.get_columns(), rows)

    def _attempt(self, pieces: Iterable[list[bytes]]) -> list[Any] | None:
        """Return a record batch for each piece, or None if any body is bad."""
        try:
            return [pyruhvro.deserialize_array(piece, self._schema) for piece in pieces]
        except ValueError:
            return None
        except BaseException as error:
            # pyo3's is not an Exception, and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return None

    def _bounded(
        self, columns: list[pl.Series], rows: Rows | None
    ) -> tuple[list[pl.Series], Rows | None]:
        """Leave out the rows in which an int or an enum's index is out of its range."""
        good: pl.Series | None = None
        for column, bounds in zip(columns, self._bounds, strict=True):
            if bounds is None or _within(column, *bounds):
                continue
            inside = column.is_between(*bounds).fill_null(value=True)
            good = inside if good is None else good & inside
        if good is None:
            return columns, rows
        kept = good.arg_true().to_numpy().astype(np.int64)
        return [column.filter(good) for column in columns], kept if rows is None else rows[kept]


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


def _pieces(bodies: list[bytes]) -> Iterator[list[bytes]]:
    """Cut into runs of at most `_PIECE_BYTES` each, a longer body alone; at least one run."""
    start = size = 0
    for at, body in enumerate(bodies):
        size += len(body)
        if size > _PIECE_BYTES and at > start:
            yield bodies[start:at]
            start, size = at, len(body)
    yield bodies[start:]


def _bad_text(table: Any) -> list[int]:
    """Return the rows of `table` that hold a string which is not UTF-8."""
    bad: set[int] = set()
    for column in table.columns:
        first = 0
        for chunk in column.chunks if pa.types.is_string(column.type) else ():
            bad.update(_search_text(chunk, first))
            first += len(chunk)
    return sorted(bad)


def _search_text(strings: Any, first: int) -> list[int]:
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        if len(strings) == 1:
            return [first]
        middle = len(strings) // 2
        head = _search_text(strings.slice(0, middle), first)
        return head + _search_text(strings.slice(middle), first + middle)
    return []
