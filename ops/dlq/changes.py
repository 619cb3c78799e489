"""Changes: what an edit makes of decoded records, and in which fields that differs."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jsonpatch
import jsonpointer
import polars as pl
from polars.exceptions import PolarsError

from operators.avro.walk import told
from operators.columns.expressions import one_row, select_rows

_ASSIGNED: Final = re.compile(r'\s*"?(\w+)"?\s*=(?!=)\s*(.+)', re.DOTALL)
_BAD: Final = (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException)
_UNITS: Final = {"us": "timestamp-micros", "ms": "timestamp-millis"}


class ChangeError(ValueError):
    """What is to be changed cannot be; the message says why."""


class Change(NamedTuple):
    """A field, with the fields around it, as it was and as it is to be: as JSON has them.

    One that is missing on a side is `MISSING` there.
    """

    field: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """Return it as an object, without the side on which the field is missing."""
        found = {name: each for name, each in self._asdict().items() if each is not MISSING}
        return dict(found)


MISSING: Final = object()


def changes(before: Any, after: Any, path: str = "") -> list[Change]:
    """Return in which fields two records differ, in the order of the fields."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[Change] = []
        for name in dict.fromkeys([*before, *after]):
            place = f"{path}.{name}" if path else name
            found += changes(before.get(name, MISSING), after.get(name, MISSING), place)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [c for n, pair in enumerate(pairs) for c in changes(*pair, f"{path}[{n}]")]
    # To JSON a number is one number, and neither is true.
    same = before == after and isinstance(before, bool) == isinstance(after, bool)
    return [] if same else [Change(path, before, after)]


def patch(text: str) -> Callable[[Any], Any]:
    """Return what applies a JSON patch (RFC 6902) to a record, which raises ChangeError.

    Raises ChangeError for a text that is none.
    """
    try:
        operations = jsonpatch.JsonPatch(json.loads(text))
    except (ValueError, TypeError, *_BAD) as error:
        raise ChangeError(f"this is no JSON patch (RFC 6902): {error}") from error

    def apply(record: Any) -> Any:
        try:
            return operations.apply(record)
        except _BAD as error:
            raise ChangeError(f"the patch does not fit: {_first(error)}") from error

    return apply


def _first(error: Exception) -> str:
    return (str(error).splitlines() or ["a test fails"])[0]


class Assignments:
    """What ``field = SQL`` says of records, by columns."""

    def __init__(self, texts: Sequence[str], kinds: Mapping[str, pl.DataType]) -> None:
        """`kinds` are the columns that there are. Raises ChangeError."""
        self._made: dict[str, pl.Expr] = {}
        for text in texts:
            found = _ASSIGNED.fullmatch(text)
            if not found:
                raise ChangeError(f"{text!r} is no assignment such as country = upper(country)")
            name, sql = found.groups()
            if name not in kinds:
                raise ChangeError(f"{text!r}: there is no field {name}; there are "
                                  f"{', '.join(kinds)}")  # fmt: skip
            try:
                expression = one_row(sql)
            except PolarsError as error:
                raise ChangeError(f"{text!r}: {_first(error)}") from error
            unknown = [each for each in expression.meta.root_names() if each not in kinds]
            if unknown:
                raise ChangeError(f"{text!r}: there is no field {', '.join(unknown)}")
            self._made[name] = expression.cast(kinds[name]).alias(name)

    def of(self, frame: pl.DataFrame) -> list[dict[str, Any]]:
        """Return for each row the fields that change, as JSON; raises ChangeError."""
        if not frame.height:
            return []
        try:
            made = select_rows(frame, list(self._made.values()))
        except PolarsError as error:
            raise ChangeError(_first(error)) from error
        found: list[dict[str, Any]] = [{} for _ in range(frame.height)]
        for column in made.get_columns():
            differs = column.ne_missing(frame[column.name])
            values = _as_json(column.filter(differs))
            for row, value in zip(differs.arg_true().to_list(), values, strict=True):
                found[row][column.name] = value
        return found


def _as_json(column: pl.Series) -> list[Any]:
    """Return values as `Explained.record` has them."""
    kind, logical = column.dtype, ""
    if isinstance(kind, pl.Datetime):
        column, logical = column.to_physical(), _UNITS[kind.time_unit]
    elif kind == pl.Binary:
        column = column.bin.encode("hex")
    return [each if each is None else told(each, logical) for each in column.to_list()]
