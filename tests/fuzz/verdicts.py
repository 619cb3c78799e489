"""Verdicts: what each reader makes of a batch, all of them alike, each record in one place."""

from collections import Counter
from typing import Any

from operators.avro import Decoded, Decoder
from operators.avro.plan import Plan
from operators.records.rejects import Refusal
from tests.fuzz.places import Values, placed
from tests.fuzz.subjects import Subject
from tests.operators.avro import nested
from tests.operators.avro.payments import raw

_LONG = "an int does not fit 32 bits"
"""Which fastavro reads, and writes."""


class Readers:
    """The three readers of a subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.fast, self.strict = subject, subject.decoder(), subject.decoder()
        self.plain = subject.plain()

    def agree(self, values: Values, opinion: bool = True) -> Counter[str]:
        """Return how many are good and refused, by code; raises AssertionError if any differs.

        `opinion` says that fastavro is asked as well.
        """
        fast = _decoded(self.fast, values)
        strict = self._strictly(values)
        assert fast.refusals == strict.refusals
        assert fast.rows.tolist() == strict.rows.tolist()
        assert fast.frame.equals(strict.frame)
        refused = {each.row: each for each in fast.refusals}
        assert sorted([*fast.rows.tolist(), *refused]) == list(range(len(values)))
        if opinion:
            self._third(values, refused)
        return Counter(each.code for each in refused.values()) + Counter(good=len(fast.rows))

    def places(self, values: Values) -> Counter[str]:
        """Return how many come into silver and the quarantine; each is in one of them, once."""
        return placed(values, [None] * len(values), self.fast, self.subject.contract)

    def _strictly(self, values: Values) -> Decoded:
        # Plans are made as schemas are met: of those that are there the columnar decoder is taken.
        for plan in self.fast._plans.keys() - self.strict._plans.keys():
            self.strict.decode([_head(plan)], [None])
        for plan in self.strict._plans.values():
            if isinstance(plan, Plan):
                plan._bulk = None
        return _decoded(self.strict, values)

    def _third(self, values: Values, refused: dict[int, Refusal]) -> None:
        types = raw(self.subject.reader)
        named = named_types(types)
        decoded = _decoded(self.plain, values)
        plain = dict(zip(decoded.rows.tolist(), decoded.frame.to_dicts(), strict=True))
        for row, value in enumerate(values):
            id_ = int.from_bytes(value[1:5], "big") if value and value[0] == 0 else -1
            schema = self.subject.written.get(id_)
            if schema is None or value is None or len(value) < 5:
                continue
            expected, canonical = nested.opinion(schema, value[5:])
            if not canonical:
                continue
            # The rest is what the reader cannot hold: a symbol, a number, another schema's null.
            why = refused.get(row)
            assert why is None or why.code == "incompatible_schema" or _LONG in why.message
            if why is None and schema == self.subject.reader:
                assert repr(as_avro(plain[row], types, named)) == repr(expected)


def _decoded(decoder: Decoder, values: Values) -> Decoded:
    decoded = decoder.decode(values, [None] * len(values))
    frame, rows = decoded.in_order()
    return Decoded(frame, rows, decoded.refusals)


def _head(plan: Any) -> bytes:
    return b"\0" + plan.to_bytes(4, "big") if isinstance(plan, int) else b"\1" + plan.bytes


def as_avro(value: Any, kind: Any, named: dict[str, Any]) -> Any:
    """Return a column's value as fastavro reads it; `named` are the schema's named types."""
    if isinstance(kind, str):
        return as_avro(value, named[kind], named) if kind in named else value
    if isinstance(kind, list):
        kinds = {_name(each): each for each in kind if each != "null"}
        if value is None or len(kinds) == 1:
            return None if value is None else as_avro(value, next(iter(kinds.values())), named)
        (name,) = (each for each in value if value[each] is not None)
        return as_avro(value[name], kinds[name], named)
    if kind["type"] == "array":
        return [as_avro(each, kind["items"], named) for each in value]
    if kind["type"] == "map":
        return {each["key"]: as_avro(each["value"], kind["values"], named) for each in value}
    if kind["type"] == "record":
        return {f["name"]: as_avro(value[f["name"]], f["type"], named) for f in kind["fields"]}
    return value


def named_types(schema: Any) -> dict[str, Any]:
    """Return the types that a schema names."""
    found = {}
    if isinstance(schema, dict):
        if schema.get("type") in ("record", "enum", "fixed"):
            found[schema["name"]] = schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            found |= named_types(part)
    return found


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind.get("name", kind["type"]))
