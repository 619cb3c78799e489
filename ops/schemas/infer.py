"""Drafts of a schema and a contract, from values that were seen."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from schemas import AvroSchema

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YEARS: Final = 946_684_800, 4_102_444_800  # 2000 to 2100, in s
_UNITS: Final = {"timestamp-millis": 10**3, "timestamp-micros": 10**6}
_FEW: Final = 20
_PATTERNS: Final = "[A-Z]", "[0-9]", "[a-z]", "[0-9a-f]"
_AVRO: Final = {bool: "boolean", float: "double", str: "string"}
_MOST_DEPTH: Final = 16


def record_name(topic: str) -> str:
    """Return a record's name for a topic's: payments gives payment, as the folders are called."""
    words = re.findall(r"[a-z0-9]+", topic.rpartition(".")[2].lower()) or ["record"]
    last = words[-1]
    words[-1] = last[:-1] if last.endswith("s") and len(last) > 1 else last
    name = "_".join(words)
    return name if _NAME.fullmatch(name) else f"record_{name}"


def draft_schema(
    name: str, values: Sequence[Mapping[str, Any]]
) -> tuple[AvroSchema, list[str]]:
    """Return a schema of JSON objects, and what of them it leaves out.

    A field that some of them lack or have as null may be null. Whole numbers that are times of
    this century in ms or µs are taken for times; objects are records and lists are arrays.
    """
    draft = _Draft()
    return draft.record(_title(name), values, ""), draft.notes


class _LeftOutError(Exception):
    """Why a field is left out."""


class _Draft:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self._titles: set[str] = set()

    def record(
        self, title: str, values: Sequence[Mapping[str, Any]], around: str
    ) -> AvroSchema:
        while title in self._titles:
            title += "_"
        self._titles.add(title)
        fields = []
        for field in dict.fromkeys(key for value in values for key in value):
            seen = [value[field] for value in values if value.get(field) is not None]
            place = f"{around}{field}"
            if not _NAME.fullmatch(field):
                self.notes.append(f"{place!r} is left out: it is no name in Avro")
                continue
            try:
                kind = self._kind(f"{title}{_title(field)}", seen, place)
            except _LeftOutError as why:
                self.notes.append(f"{place} is left out: {why}")
                continue
            stated: dict[str, Any] = {"name": field, "type": kind}
            if len(seen) < len(values):
                stated |= {"type": ["null", kind], "default": None}
            fields.append(stated)
        return {"type": "record", "name": title, "fields": fields}

    def _kind(self, title: str, seen: Sequence[Any], place: str) -> Any:
        """Return the type of values, none of them null; raises _LeftOutError if there is none."""
        kinds = {type(each) for each in seen}
        if not kinds:
            raise _LeftOutError("it is always null")
        if kinds == {int, float}:
            kinds = {float}
        if len(kinds) > 1:
            told = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise _LeftOutError(f"its values are of type {told}")
        only = kinds.pop()
        if place.count(".") + place.count("[]") > _MOST_DEPTH:
            raise _LeftOutError("it is nested too deep")
        if only is dict:
            record = self.record(title, seen, f"{place}.")
            if not record["fields"]:
                raise _LeftOutError("nothing is in it")
            return record
        if only is list:
            return self._array(title, seen, place)
        if only is int:
            if any(not -(2**63) <= each < 2**63 for each in seen):
                raise _LeftOutError("it has numbers of more than 64 bits")
            return _time(seen) or "long"
        return _AVRO[only]

    def _array(self, title: str, seen: Sequence[list[Any]], place: str) -> Any:
        items = [each for value in seen for each in value]
        if not items:
            raise _LeftOutError("it is always empty")
        there = [each for each in items if each is not None]
        kind = self._kind(title, there, f"{place}[]")
        return {"type": "array", "items": kind if len(there) == len(items) else ["null", kind]}


def _title(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _time(seen: Sequence[int]) -> dict[str, str] | None:
    for logical, unit in _UNITS.items():
        if all(_YEARS[0] * unit <= each <= _YEARS[1] * unit for each in seen):
            return {"type": "long", "logicalType": logical}
    return None


def draft_contract(schema: AvroSchema, values: Sequence[Mapping[str, Any]]) -> str:
    """Return a contract that all `values`, of the schema, fulfil, wider than what was seen.

    Texts by their length, by their pattern, or by which there are if these are few and each is
    there more than once; numbers by their power of ten; times from 2000 to 2100.
    """
    checks: list[dict[str, Any]] = []
    for field in schema["fields"]:
        name = field["name"]
        seen = [value[name] for value in values if value.get(name) is not None]
        kind = field["type"]
        if isinstance(kind, list):
            kinds = [branch for branch in kind if branch != "null"]
            kind = kinds[0] if len(kinds) == 1 else kinds
        logical = kind.get("logicalType") if isinstance(kind, dict) else None
        if logical == "timestamp-micros":
            span = ["2000-01-01", "2100-01-01"]
            checks.append({"code": f"{name}_range", "field": name, "time": span})
        elif kind == "string" and seen:
            checks.append(_text(name, seen))
        elif kind in ("int", "long", "float", "double") and (seen := _numbers(seen)):
            low = 0 if min(seen) >= 0 else -_power(-min(seen))
            top = _power(max(max(seen), -min(seen)))
            checks.append({"code": f"{name}_range", "field": name, "range": [low, top]})
    head = "# A draft of what was seen: say what must hold, and delete what need not.\n"
    return head + yaml.safe_dump({"checks": checks}, sort_keys=False, width=100)


def _text(name: str, seen: Sequence[str]) -> dict[str, Any]:
    few = sorted(set(seen))
    if len(few) <= _FEW and len(seen) >= 5 * len(few):
        return {"code": f"{name}_unknown", "field": name, "in": few}
    sizes = {len(each) for each in seen}
    if len(sizes) == 1 and (size := sizes.pop()):
        for letters in _PATTERNS:
            pattern = f"{letters}{{{size}}}"
            if all(re.fullmatch(pattern, each) for each in seen):
                return {"code": f"{name}_format", "field": name, "pattern": pattern}
    longest = max(len(each.encode()) for each in seen)
    least = 1 if all(seen) else 0
    most = 1 << (longest - 1).bit_length() if longest > 1 else 1
    return {"code": f"{name}_length", "field": name, "bytes": [least, most]}


def _numbers(seen: Sequence[Any]) -> list[float]:
    """Return the finite ones; the others are told as texts, as JSON has none of them."""
    return [each for each in seen if not isinstance(each, str)]


def _power(number: float) -> int:
    """Return the power of ten at or above a number, 1 at least."""
    power = 1
    while power < number:
        power *= 10
    return power
