"""Repairs: how a contract mends a record that it would refuse, noted on the record's row.

A repair is tried where its field breaks a check, in the order of the file and until no check of
the field is broken any more. A record that is good never changes, and one that is refused for
all that stays as it came. Of a country that has to be two capitals:

>>> repairs = [Repair("country", "trim"), Repair("country", "upper_case"),
...            Repair("country", "default", value="ZZ")]
>>> frame = pl.DataFrame({"country": ["BE", " BE", "be ", "?"]})
>>> def broken(frame):
...     return {"country": ~frame["country"].str.contains("^[A-Z]{2}$")}
>>> mended, done = mend(frame, repairs, broken)
>>> mended["country"].to_list()
['BE', 'BE', 'BE', 'ZZ']
>>> for each in noted(frame, mended, done): print(each)
None
[{"field":"country","was":" BE","by":["trim"]}]
[{"field":"country","was":"be ","by":["trim","upper_case"]}]
[{"field":"country","was":"?","by":["default"]}]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Any, Final, Literal, TypeAlias

import orjson
import polars as pl

from operators.columns.frames import alike
from operators.columns.times import in_python
from operators.records.tables import TIME

REPAIRS: Final = "repairs"
"""The column of what was repaired, JSON text, null where nothing was."""

Kind = Literal["trim", "upper_case", "default", "unit", "parse_time"]

Broken: TypeAlias = Callable[[pl.DataFrame], Mapping[str, pl.Series]]
"""Tells of records, by field, which break a check of it: Booleans without null."""

_TEXTS: Final = ("string",)
_NUMBERS: Final = ("int", "long", "float", "double")
_TIMES: Final = ("timestamp-micros", "timestamp-millis")
_VALUES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "int": (int,), "long": (int,), "float": (int, float),
    "double": (int, float), "boolean": (bool,), "decimal": (int, float, str),
    **dict.fromkeys(_TIMES, (str, datetime)),
}  # fmt: skip
_KINDS: Final[dict[Kind, tuple[str, ...]]] = {
    "trim": _TEXTS,
    "upper_case": _TEXTS,
    "default": tuple(_VALUES),
    "unit": (*_NUMBERS, *_TIMES, "decimal"),
    "parse_time": _TIMES,
}
_OF_FIXED_POINT: Final = (pl.Int64(), pl.Int32(), TIME)


@dataclass(frozen=True)
class Repair:
    """What is done to a field.

    White space is taken off at both ends, letters are made capitals, a value is put in its place,
    a number or time is multiplied by `times` and divided by `divided_by`, rounded down, or the
    time is taken that the text field `of` has in a `format` of strptime, UTC unless it has a %z.
    """

    field: str
    does: Kind
    value: Any = None
    times: int = 1
    divided_by: int = 1
    of: str = ""
    format: str = ""

    def refuse_unfit(self, kinds: Mapping[str, tuple[str, bool]]) -> None:
        """Raise ValueError or PolarsError if fields of these types cannot be repaired so."""
        for name in (self.field, *([self.of] if self.of else [])):
            if name not in kinds:
                raise ValueError(f"the schema has no {name}")
        kind, _ = kinds[self.field]
        if kind not in _KINDS[self.does]:
            raise ValueError(f"{self.does} is not for a field of type {kind}")
        if self.does == "default" and type(self.value) not in _VALUES[kind]:
            raise ValueError(f"{self.value!r} is no value of a field of type {kind}")
        if self.does == "default":
            _value(self.value, kind)
        if self.of and kinds[self.of][0] not in _TEXTS:
            raise ValueError(
                f"a time is read from a text; {self.of} is of type {kinds[self.of][0]}"
            )
        empty = {name: pl.String() for name in (self.field, self.of) if name}
        if self.does == "parse_time":
            pl.DataFrame(schema=empty | {self.field: TIME}).select(self.made(TIME))

    def made(self, dtype: pl.DataType) -> pl.Expr:
        """Return what the field is to be, null if that cannot be said."""
        own = pl.col(self.field)
        match self.does:
            case "trim":
                return own.str.strip_chars()
            case "upper_case":
                return own.str.to_uppercase()
            case "default":
                kind = "decimal" if dtype.is_decimal() else _TIMES[0] if dtype == TIME else ""
                return pl.lit(_value(self.value, kind)).cast(dtype, strict=False)
            case "parse_time":
                return pl.col(self.of).str.to_datetime(
                    self.format, time_unit="us", time_zone="UTC", strict=False
                )
        if dtype.is_decimal():
            return own.map_batches(self._scaled, return_dtype=dtype)
        if dtype not in _OF_FIXED_POINT:
            return (own * self.times / self.divided_by).cast(dtype)
        physical = pl.Int32() if dtype == pl.Int32() else pl.Int64()
        # Down, so that what is less than nothing stays so.
        scaled = own.to_physical().cast(pl.Int128) * self.times // self.divided_by
        return scaled.cast(physical, strict=False).cast(dtype)

    def _scaled(self, column: pl.Series) -> pl.Series:
        """Return decimals in the other unit, rounded down to their digits, null beyond these.

        Of broken records alone, so one by one.
        """
        dtype = column.dtype
        assert isinstance(dtype, pl.Decimal)  # noqa: S101 # by the caller
        last, most = (
            Decimal(1).scaleb(-dtype.scale),
            Decimal(10) ** ((dtype.precision or 38) - dtype.scale),
        )
        found: list[Decimal | None] = []
        with localcontext(prec=100):
            for value in column.to_list():
                made = None if value is None else value * self.times / self.divided_by
                made = None if made is None else made.quantize(last, ROUND_FLOOR)
                found.append(None if made is None or abs(made) >= most else made)
        return pl.Series(column.name, found, dtype)


def _value(value: Any, kind: str) -> Any:
    """Return what a default is in a field of a kind; raises ValueError for what is none."""
    if kind == "decimal":
        try:
            found = Decimal(str(value))
        except InvalidOperation:
            raise ValueError(f"{value!r} is no decimal number") from None
        if not found.is_finite():
            raise ValueError(f"{value!r} is no decimal number")
        return found
    if kind in _TIMES:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return value


Done: TypeAlias = list[tuple[Repair, pl.Series]]
"""Repairs with the rows that each has changed, Booleans."""


def mend(
    frame: pl.DataFrame, repairs: Sequence[Repair], broken: Broken
) -> tuple[pl.DataFrame, Done]:
    """Return records with what repairs make of them, and which repair changed which."""
    done: Done = []
    wrong = broken(frame)
    for repair in repairs:
        name = repair.field
        if name not in wrong or not wrong[name].any():
            continue
        old = frame[name]
        made = pl.when(wrong[name]).then(repair.made(old.dtype)).otherwise(old)
        # What cannot be said changes nothing.
        new = frame.select_seq(made.fill_null(old).alias(name)).to_series()
        changed = pl.Series(~alike(old, new))
        if changed.any():
            done.append((repair, changed))
            frame = frame.with_columns(new)
            wrong = broken(frame)
    return frame, done


def noted(before: pl.DataFrame, after: pl.DataFrame, done: Done) -> pl.Series:
    """Return of each record what was repaired, as `REPAIRS` has it: fields with what they were.

    So a repair can be seen, and undone: a time is there in ISO 8601, one that is in no calendar as
    µs since 1970, a decimal as a text, all else as JSON has it.
    """
    by: dict[int, dict[str, list[str]]] = {}
    for repair, rows in done:
        for row in rows.arg_true().to_list():
            by.setdefault(row, {}).setdefault(repair.field, []).append(repair.does)
    texts: list[str | None] = [None] * after.height
    was = {repair.field: in_python(before[repair.field]) for repair, _ in done}
    for row, fields in by.items():
        entries = [{"field": f, "was": was[f][row], "by": does} for f, does in fields.items()]
        texts[row] = orjson.dumps(entries, default=str).decode()
    return pl.Series(REPAIRS, texts, pl.String)
