"""JSON objects as columns: each field by the type that the record's schema says."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import polars as pl

from operators.avro.compile import Record
from operators.avro.kinds import dtype_of, logical_of
from operators.avro.wire import INT_MAX, INT_MIN, Field

_NONE: Final = type(None)
_LONG: Final = 2**63
_LEAST_US: Final = -62_135_596_800_000_000
_MOST_US: Final = 253_402_300_799_999_999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date(9999, 12, 31).toordinal() - _EPOCH_DAY
_US: Final = {"timestamp-micros": 1, "timestamp-millis": 1_000}


class Objects:
    """Reads objects as rows of a record.

    Whole numbers and times are numbers as in Avro, times and days ISO texts too (UTC unless they
    say another offset), and decimals texts or whole numbers. A field that is missing has its
    default, or else null.
    """

    def __init__(self, record: Record) -> None:
        self._fields = record.fields
        self.dtypes = {field.name: dtype_of(field.wire, field.name) for field in record.fields}
        self.needed = [f.name for f in record.fields if f.wire.null_first is None]
        """The fields that are never null."""

    def read(self, objects: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, dict[int, str]]:
        """Return a row for each object, and by row why it is none, for a person."""
        bad: dict[int, str] = {}
        columns = []
        for field in self._fields:
            default = field.schema.get("default")
            values = [each.get(field.name, default) for each in objects]
            columns.append(_column(field, self.dtypes[field.name], values, bad))
        return pl.DataFrame(columns), bad


def _column(
    field: Field, dtype: pl.DataType, values: list[Any], bad: dict[int, str]
) -> pl.Series:
    logical = logical_of(field.wire)
    exact, one = _reading(field, logical)
    if not {*map(type, values)} <= {exact, _NONE}:
        for row, value in enumerate(values):
            if value is not None and type(value) is not exact:
                values[row] = _one(field, one, value, row, bad)
    return _series(field, logical, dtype, values, bad)


def _series(
    field: Field,
    logical: str | None,
    dtype: pl.DataType,
    values: list[Any],
    bad: dict[int, str],
) -> pl.Series:
    """Return values of the one Python type that a field has as its column; refuse what is out."""
    bounds = _bounds(field, logical)
    if bounds is not None:
        known = [value for value in values if value is not None]
        if known and not bounds[0] <= min(known) <= max(known) <= bounds[1]:
            for row, value in enumerate(values):
                if value is not None and not bounds[0] <= value <= bounds[1]:
                    values[row] = None
                    bad.setdefault(row, f"field {field.name}: out of its type's range")
    if field.wire.kind == "enum":
        for row, value in enumerate(values):
            if value is not None and value not in field.wire.symbols:
                values[row] = None
                bad.setdefault(row, f"field {field.name}: a symbol that it does not have")
    factor = _US.get(logical or "")
    if factor is not None:
        times = pl.Series(field.name, values, pl.Int64())
        return (times * factor).cast(dtype)
    if logical == "date":
        return pl.Series(field.name, values, pl.Int32()).cast(pl.Date())
    return pl.Series(field.name, values, dtype)


def _one(
    field: Field,
    one: Callable[[Any], Any] | None,
    value: Any,
    row: int,
    bad: dict[int, str],
) -> Any:
    try:
        if one is not None:
            return one(value)
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        pass
    bad.setdefault(row, f"field {field.name}: none of its type")
    return None


def _reading(field: Field, logical: str | None) -> tuple[type, Callable[[Any], Any] | None]:
    """Return the type that a field's values have, and how such a one comes of another."""
    kind = field.wire.kind
    if logical in _US:
        return int, lambda value: _micros(value) // _US[logical]
    if logical == "date":
        return int, lambda value: date.fromisoformat(value).toordinal() - _EPOCH_DAY
    if logical == "decimal":
        scale = field.wire.digits[1] if field.wire.digits else 0
        return Decimal, lambda value: _decimal(value, scale)
    if logical is None and kind in ("int", "long"):
        return int, None
    if logical is None and kind in ("float", "double"):
        return float, _fraction
    if logical is None and kind == "boolean":
        return bool, None
    if kind in ("string", "enum"):
        return str, None
    # JSON has nothing that is surely one of these.
    return bytes, None


def _micros(value: Any) -> int:
    found = datetime.fromisoformat(value)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _decimal(value: Any, scale: int) -> Decimal:
    if type(value) not in (str, int):
        raise TypeError
    found = Decimal(value)
    # Not what has more digits than the column, nor what is no number.
    if not found.is_finite() or found != found.quantize(Decimal(1).scaleb(-scale)):
        raise ValueError
    return found


def _fraction(value: Any) -> float:
    if type(value) is not int:
        raise TypeError
    return float(value)


def _bounds(field: Field, logical: str | None) -> tuple[Any, Any] | None:
    if logical in _US:
        return -(-_LEAST_US // _US[logical]), _MOST_US // _US[logical]
    if logical == "date":
        return 1 - _EPOCH_DAY, _LAST_DAY
    if logical == "decimal" and field.wire.digits is not None:
        most = Decimal(10) ** (field.wire.digits[0] - field.wire.digits[1])
        return -most, most
    if field.wire.kind == "int":
        return INT_MIN, INT_MAX
    return (-_LONG, _LONG - 1) if field.wire.kind == "long" else None
