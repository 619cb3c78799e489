"""Targets: what takes bytes or texts that anybody may have written, each held to what it promises.

The first byte of an input says which target it is for, so that one corpus serves all of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import polars as pl

import schemas
from operators.avro import Decoder, columns_of, framing
from operators.avro.encode import NotOfSchemaError, encode
from operators.avro.explain import Explainer
from operators.avro.payloads import Payloads
from operators.avro.plan import Plan
from operators.avro.wire import SchemaError
from operators.contracts import REPAIRS, load_contract
from operators.control.changes import ChangeError as NoChangeError
from operators.control.changes import read_change
from operators.records.tables import COORDINATES
from operators.rules.rules import RuleError, RuleSet, read_rule
from ops.dlq.changes import ChangeError, patch
from tests.fuzz.draw import Draw
from tests.fuzz.json_subjects import JSON_SUBJECTS
from tests.fuzz.json_verdicts import JsonReaders
from tests.fuzz.subjects import SUBJECTS
from tests.fuzz.verdicts import Readers
from tests.operators.avro.nested import HEAD, LEAVES

_NOW_MS: Final = 1_760_000_000_000


@cache
def _readers(name: str) -> Readers:
    return Readers(SUBJECTS[name])


def payloads(draw: Draw, name: str) -> None:
    """One verdict and one place, whatever stands beside it; and what is explained is the same."""
    readers = _readers(name)
    good = SUBJECTS[name].good(20)
    id_ = draw.one(list(SUBJECTS[name].written))
    value = b"\0" + id_.to_bytes(4, "big") + draw.rest()
    readers.agree([good[0], value, good[1]], opinion=False)
    readers.places([value])
    refused = {each.row: each.code for each in readers.fast.decode([value], [None]).refusals}
    found = Explainer(readers.fast._lookup).explain([value], [None])[0]
    assert (found.broken is not None) == (refused.get(0) in ("malformed", "bad_utf8"))


@cache
def _json_readers(name: str) -> JsonReaders:
    return JsonReaders(JSON_SUBJECTS[name])


def json_payloads(draw: Draw, name: str) -> None:
    """One verdict and one place, whatever stands beside it, and what is explained is the same."""
    readers, good = _json_readers(name), JSON_SUBJECTS[name].good(20)
    value = draw.rest()
    readers.agree([good[0], value, good[1]])
    readers.places([value])
    readers.explained(value)


def edited(draw: Draw, name: str) -> None:
    """A JSON patch makes a record that its schema takes, or says why it does not."""
    good = SUBJECTS[name].good(20)
    lookup = _readers(name).fast._lookup
    found = Explainer(lookup).explain([draw.one(good)], [None])[0]
    try:
        record = patch(draw.rest().decode("utf-8", "replace"))(found.record)
        body = encode(record, found.schema or {})
    except (ChangeError, NotOfSchemaError):
        return
    value = b"\0" + int(str(found.schema_id)).to_bytes(4, "big") + body
    again = Explainer(lookup).explain([value], [None])[0]
    assert again.broken is None
    assert encode(again.record, found.schema or {}) == body


def resolved(draw: Draw) -> None:
    """Any schema read by any other: both readers alike, or a reason why it cannot be."""
    writer, reader = (_record(draw) for _ in range(2))
    try:
        decoder = Decoder(reader, lambda _: writer)
    except SchemaError:
        return
    size = draw.number()
    values = [HEAD + draw.some(size), HEAD + draw.rest()]
    fast = decoder.decode(values, [None] * 2)
    assert sorted([*fast.rows.tolist(), *(each.row for each in fast.refusals)]) == [0, 1]
    assert fast.frame.schema == pl.Schema(columns_of(reader))
    plan = decoder._plans[1]
    if isinstance(plan, Plan):
        plan._bulk = None
        strict = decoder.decode(values, [None] * 2)
        assert strict.refusals == fast.refusals
        assert strict.in_order()[0].equals(fast.in_order()[0])


def _record(draw: Draw) -> Any:
    names = iter(range(100))
    fields = [
        {"name": f"f{n}", "type": _type(draw, names, 2)} for n in range(1 + draw.number() % 3)
    ]
    return {"type": "record", "name": "R", "fields": fields}


_LOGICAL: Final = (
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "int", "logicalType": "date"},
    {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
)


def _type(draw: Draw, names: Any, depth: int) -> Any:
    kind = draw.number() % 16
    if kind < 7 or (depth == 0 and kind < 14):
        return LEAVES[kind % 7]
    if kind == 7:
        return ["null", draw.one(LEAVES)]
    if kind == 8:
        return [draw.one(LEAVES), "null"]
    if kind == 9:
        return {"type": "array", "items": _type(draw, names, depth - 1)}
    if kind == 10:
        return {"type": "map", "values": _type(draw, names, depth - 1)}
    if kind in (11, 12):
        inner = [{"name": f"g{n}", "type": _type(draw, names, depth - 1)} for n in range(2)]
        return {"type": "record", "name": f"N{next(names) % 3}_{depth}", "fields": inner}
    if kind == 13:
        return ["null", *dict.fromkeys(draw.one(LEAVES) for _ in range(3))]
    if kind == 14:
        symbols = ["A", "B", "C"][draw.number() % 3 :]
        return {
            "type": "enum",
            "name": f"E{next(names)}",
            "symbols": symbols,
            "default": symbols[0],
        }
    return draw.one(_LOGICAL)


def checked(draw: Draw) -> None:
    """A contract parts its rows, and what it has let through or repaired it lets through again."""
    contract = load_contract("click")
    columns = columns_of(schemas.latest("click"))
    rows = 1 + draw.number() % 3
    frame = pl.DataFrame(
        [
            _column(name, kind, [_value(draw, kind) for _ in range(rows)])
            for name, kind in columns.items()
        ]
    )
    stamps = pl.Series([draw.one([-1, 0, _NOW_MS, 2**63 - 1])] * rows, dtype=pl.Int64)
    found = contract.check(frame, stamps)
    assert [each.row for each in found.refusals] == (~found.good).arg_true().to_list()
    bad = found.frame.filter(~found.good)
    assert bad.drop(REPAIRS).equals(frame.filter(~found.good)), "a refused one is as it came"
    good = found.frame.filter(found.good).drop(REPAIRS)
    again = contract.check(good, stamps.head(good.height))
    assert again.good.all()
    assert again.frame.drop(REPAIRS).equals(good)


def _column(name: str, kind: pl.DataType, values: list[Any]) -> pl.Series:
    storage = pl.Int64() if kind.is_temporal() else kind
    return pl.Series(name, values, storage).cast(kind)


def _value(draw: Draw, kind: pl.DataType) -> Any:
    if kind == pl.String():
        return draw.some(draw.number() % 8).decode("utf-8", "replace")
    if kind == pl.Boolean():
        return draw.number() % 2 == 1
    how = draw.number() % 4
    if how < 2:
        return (0, _NOW_MS)[how]
    return _NOW_MS * 1_000 if how == 2 else draw.number(8) - 2**63


_RULE: Final = {
    "id": "any", "version": 1, "description": "any", "severity": "low", "when": "TRUE",
    "score": "1", "reason": "any", "cases": [{"name": "one", "payments": [{}], "alerts": []}],
}  # fmt: skip
_COLUMNS: Final = columns_of(schemas.latest("payment")) | COORDINATES


def ruled(draw: Draw) -> None:
    """A rule of any expressions is evaluated on each event, fails on it, or is refused."""
    texts = draw.rest().decode("utf-8", "replace").split("\n")
    stated = dict(zip(("when", "score", "reason"), texts, strict=False))
    rule, problems = read_rule(_RULE | stated, "any")
    assert (rule is None) == bool(problems)
    if rule is None:
        return
    try:
        rules = RuleSet([rule], _COLUMNS, "payment_id", "card_id")
    except RuleError:
        return
    verdict = rules.evaluate(_events())
    assert verdict.alerts.height + len(verdict.failures) <= 2


@cache
def _events() -> pl.DataFrame:
    good = SUBJECTS["payments"].good(20)[:2]
    frame = _readers("payments").fast.decode(good, [None] * 2).frame
    places = {"source_topic": "payments", "source_partition": 0, "source_offset": 0}
    return frame.with_columns(pl.lit(v, COORDINATES[n]).alias(n) for n, v in places.items())


def framed(draw: Draw) -> None:
    """Each value has a schema id, in one group, or is refused."""
    values: list[bytes | None] = []
    headers: list[Any] = []
    for _ in range(1 + draw.number() % 3):
        names = ("__value_schema_id", "a")
        pairs = [
            (draw.one(names), (None, draw.some(draw.number() % 20))[draw.number() % 2])
            for _ in range(draw.number() % 3)
        ]
        headers.append(pairs or None)
        values.append((None, draw.some(draw.number() % 30))[draw.number() % 4 > 0])
    groups, refusals = framing.split(Payloads.of(values), headers)
    rows = [
        row for several in groups.values() for group in several for row in group.rows.tolist()
    ]
    assert sorted([*rows, *(each.row for each in refusals)]) == list(range(len(values)))
    for several in groups.values():
        for group in several:
            assert all(len(values[row] or b"") >= group.skip for row in group.rows.tolist())


def controlled(draw: Draw) -> None:
    """A record of a control topic, a list's among them, is a change or is refused."""
    key = draw.one(
        [b"rule/any", b"threshold/review", b"list/block:stolen:card_id:c", b"", None]
    )
    if draw.number() % 4 == 3:
        key = draw.some(draw.number() % 40)
    value = draw.rest()
    try:
        change = read_change(0, 0, key, value or None)
    except NoChangeError:
        return
    assert change.key.encode() == (key or b"")


TARGETS: Final[dict[str, Callable[[Draw], None]]] = {
    "payments": lambda draw: payloads(draw, "payments"),
    "orders": lambda draw: payloads(draw, "orders"),
    "resolution": resolved,
    "contract": checked,
    "edit a payment": lambda draw: edited(draw, "payments"),
    "edit an order": lambda draw: edited(draw, "orders"),
    "rule": ruled,
    "framing": framed,
    "control": controlled,
    "JSON by a field": lambda draw: json_payloads(draw, "JSON by a field"),
    "JSON by a header": lambda draw: json_payloads(draw, "JSON by a header"),
    "JSON against Avro": lambda draw: json_payloads(draw, "JSON against Avro"),
}
_EACH: Final = tuple(TARGETS.values())


def run(data: bytes) -> None:
    """Run the target that an input is for; raises whatever is not as it has to be."""
    if data:
        _EACH[data[0] % len(_EACH)](Draw(data[1:]))


def warm() -> None:
    """Make what all inputs share, so that none of them is the slow one."""
    for name in SUBJECTS:
        _readers(name).agree(SUBJECTS[name].good(20), opinion=False)
    for name in JSON_SUBJECTS:
        _json_readers(name).agree(JSON_SUBJECTS[name].good(20))
    _events()
