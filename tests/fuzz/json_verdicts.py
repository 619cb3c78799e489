"""Verdicts on JSON: alone, beside others and by another reader and validator, all of them alike."""

import json
import math
from collections import Counter
from functools import cached_property
from typing import Any, Final

import jsonschema
import polars as pl

from operators.avro import Decoded
from operators.json_schema import CODES, JsonExplainer
from tests.fuzz.json_subjects import JsonSubject
from tests.fuzz.places import Values, placed
from tests.operators.json_schema.reference import once, refuse

_ELSE: Final = ("out_of_range", "schema_format")
"""What the reference has no opinion of: what a column can hold, and what a format is."""
_ALONE: Final = 50


class JsonReaders:
    """The readers of a subject."""

    def __init__(self, subject: JsonSubject) -> None:
        self.subject, self.fast = subject, subject.decoder()

    @cached_property
    def _validators(self) -> dict[int, Any]:
        found = self.subject.versions.items()
        return {n: jsonschema.Draft202012Validator(each.schema) for n, each in found}

    def agree(self, values: Values, opinion: bool = True) -> Counter[str]:
        """Return how many are good and refused, by code; raises AssertionError if any differs.

        `opinion` says that the reference is asked as well.
        """
        found = self._decoded(values)
        refused = {each.row: each for each in found.refusals}
        assert sorted([*found.rows.tolist(), *refused]) == list(range(len(values)))
        assert {each.code for each in found.refusals if each.stage == "decode"} <= {*CODES}
        # In another order, and the first of them alone.
        last = len(values) - 1
        other = self._decoded(values[::-1])
        assert {last - each.row: each.at(last - each.row) for each in other.refusals} == refused
        assert other.frame.reverse().equals(found.frame)
        kept = dict(zip(found.rows.tolist(), range(found.frame.height), strict=True))
        for row, value in enumerate(values[:_ALONE]):
            alone = self._decoded([value])
            assert [each.at(row) for each in alone.refusals] == (
                [refused[row]] if row in refused else []
            )
            assert alone.frame.equals(found.frame[kept[row] : kept[row] + 1] if row in kept else
                                      found.frame.clear())  # fmt: skip
        if opinion:
            headers = self.subject.headers(values)
            # Times may be in no calendar that Python has.
            frame = found.frame.select(pl.exclude(pl.Datetime))
            for row, (value, told) in enumerate(zip(values, headers, strict=True)):
                record = self._reference(value, told)
                if row in kept:
                    assert record is not None, value
                    self._same(record, frame.row(kept[row], named=True))
                elif refused[row].code not in _ELSE:
                    assert record is None, (value, refused[row])
        return Counter(each.code for each in found.refusals) + Counter(good=len(kept))

    def places(self, values: Values) -> Counter[str]:
        """Return how many come into silver and the quarantine; each is in one of them, once."""
        return placed(values, self.subject.headers(values), self.fast, self.subject.contract)

    def explained(self, value: bytes) -> None:
        """Explain a value: it breaks where it is no JSON, and else is what it says."""
        (headers,) = self.subject.headers([value])
        (found,) = JsonExplainer(self.fast.versions).explain([value], [headers])
        codes = {each.code for each in self.fast.decode([value], [headers]).refusals}
        broken = {"malformed", "bad_utf8", "not_an_object", "duplicate_name", "empty"}
        assert (found.record is None) == bool(codes & broken) or codes & {
            "no_version", "unknown_version"
        }  # fmt: skip
        assert (found.broken is None) == (found.record is not None)

    def _decoded(self, values: Values) -> Decoded:
        found = self.fast.decode(values, self.subject.headers(values))
        frame, rows = found.in_order()
        return Decoded(frame, rows, found.refusals)

    def _reference(self, value: bytes | None, headers: Any) -> dict[str, Any] | None:
        """Return a record as the standards read it, None of what is none of its version."""
        try:
            record = json.loads(
                (value or b"").decode(), object_pairs_hook=once, parse_constant=refuse
            )
            json.dumps(record, ensure_ascii=False).encode()
            _refuse_beyond_doubles(record)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        version = self.subject.version_of(record, headers)
        if version is None or not self._validators[version.number].is_valid(record):
            return None
        return record

    def _same(self, record: dict[str, Any], row: dict[str, Any]) -> None:
        for name, value in record.items():
            # Those that are in a column as JSON has them.
            if name in row and isinstance(row[name], (bool, int, float)):
                assert row[name] == value or float(value) == row[name], (name, value, row[name])


def _refuse_beyond_doubles(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _refuse_beyond_doubles(each)
    elif isinstance(value, (int, float)):
        try:
            fits = math.isfinite(float(value))
        except OverflowError:
            fits = False
        if not fits:
            raise ValueError("beyond a double")
