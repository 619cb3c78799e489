"""Records of changes in JSON: rows as they are, or in Debezium's envelope."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from operators.changes.spec import OP, SENT, SOURCE, THERE
from operators.changes.values import Objects
from operators.columns.arrays import Int64s
from operators.records.rejects import Refusal

_LONG: Final = 2**63


def is_json(value: bytes) -> bool:
    """Tell whether a value may be a JSON object."""
    return value[:1] == b"{" or value.lstrip()[:1] == b"{"


def payload_of(found: Any) -> Any:
    """Return what Kafka Connect's converter has put beside a schema, if it did."""
    if isinstance(found, dict) and found.keys() == {"schema", "payload"}:
        return found["payload"]
    return found


class JsonChanges:
    """Reads JSON objects, which have a row each, or Debezium's envelope around it.

    Beside the row's fields a frame of the latter has `ENVELOPE`, `OP` and `THERE`.
    """

    def __init__(self, objects: Objects, *, enveloped: bool) -> None:
        self._objects, self._enveloped = objects, enveloped

    def read(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, Int64s, list[Refusal]]:
        """Return a frame, which value each of its rows was, and why the others are none."""
        refusals: list[Refusal] = []
        found: list[dict[str, Any]] = []
        rows: list[int] = []
        for row, value in enumerate(values):
            try:
                each = payload_of(orjson.loads(value))
            except orjson.JSONDecodeError:
                refusals.append(_malformed(row, "Not JSON."))
                continue
            if not isinstance(each, dict):
                refusals.append(_malformed(row, "Not a JSON object."))
                continue
            found.append(each)
            rows.append(row)
        frame, bad = self._envelopes(found) if self._enveloped else self._objects.read(found)
        bad = self._lacking(frame, found, bad)
        at = np.array(rows, np.int64)
        refusals += [
            _malformed(rows[i], f"Not a record of its schema: {w}.") for i, w in bad.items()
        ]
        if not bad:
            return frame, at, refusals
        good = np.delete(np.arange(len(rows)), [*bad])
        return frame[good], at[good], refusals

    def _envelopes(self, found: list[dict[str, Any]]) -> tuple[pl.DataFrame, dict[int, str]]:
        ops = [_text(each.get("op")) for each in found]
        rows = [
            e.get("before" if op == "d" else "after") for e, op in zip(found, ops, strict=True)
        ]
        sources = [each.get("source") for each in found]
        nothing = dict.fromkeys(self._objects.dtypes)
        some = [row if isinstance(row, dict) else nothing for row in rows]
        frame, bad = self._objects.read(some)
        told = {
            path: [_number(s.get(name)) if isinstance(s, dict) else None for s in sources]
            for path, name in SOURCE.items()
        }
        told[SENT] = [_number(each.get("ts_ms")) for each in found]
        columns = [pl.Series(name, each, pl.Int64()) for name, each in told.items()]
        columns.append(pl.Series(OP, ops, pl.String()))
        columns.append(pl.Series(THERE, [isinstance(row, dict) for row in rows], pl.Boolean()))
        return frame.hstack(columns), bad

    def _lacking(
        self, frame: pl.DataFrame, found: list[dict[str, Any]], bad: Mapping[int, str]
    ) -> dict[int, str]:
        """Return also which rows lack what is never null, as a deletion's may."""
        every = dict(bad)
        if not found:
            return every
        whole = pl.Series([True]).new_from_index(0, len(found))
        if self._enveloped:
            whole = frame[THERE] & (frame[OP] != "d").fill_null(value=False)
        for name in self._objects.needed:
            for row in (whole & frame[name].is_null()).arg_true():
                every.setdefault(row, f"field {name}: null, or not there")
        return every


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and -_LONG <= value < _LONG else None


def _malformed(row: int, message: str) -> Refusal:
    return Refusal(row, "decode", "malformed", message)
