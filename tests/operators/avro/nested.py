"""Nested schemas at random, records of them, and what fastavro reads as the columns have it."""

import io
import json
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any

import fastavro
import polars as pl
from hypothesis import strategies as st

from operators.avro import Decoded, Decoder, columns_of
from operators.avro.compile import Record
from operators.avro.plan import Plan
from operators.avro.wire import MalformedError
from tests.operators.avro.payments import raw

HEAD = b"\0\0\0\0\1"
LEAVES = ["boolean", "int", "long", "float", "double", "string", "bytes"]
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": INT64,
    "float": st.floats(width=32),
    "double": st.floats(),
    "string": st.text(max_size=3),
    "bytes": st.binary(max_size=3),
    "null": st.none(),
}
BYTES = st.sampled_from([0, 1, 2, 3, 4, 0x0F, 0x10, 0x7F, 0x80, 0xC3, 0xFE, 0xFF])


@st.composite
def types(draw: st.DrawFn, names: Any, depth: int = 2, union: bool = True) -> Any:
    kinds = [*LEAVES, "enum", "fixed"]
    if depth:
        kinds += ["record", "array", "map"] * 2
    if union:
        kinds += ["null first", "null last", "union"]
    kind = draw(st.sampled_from(kinds))
    inner = types(names, depth=depth - 1) if depth else types(names, 0)
    name = f"N{next(names)}"
    if kind in ("null first", "null last"):
        other = draw(types(names, depth, union=False))
        return ["null", other] if kind == "null first" else [other, "null"]
    if kind == "union":
        some = draw(st.sets(st.sampled_from([*LEAVES, "null"]), min_size=2).map(sorted))
        enum = {"type": "enum", "name": name, "symbols": ["A", "B"]}
        return [*some, enum] if draw(st.booleans()) else some
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B"]}
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": draw(st.sampled_from([3, 4, 8]))}
    if kind == "array":
        return {"type": "array", "items": draw(inner)}
    if kind == "map":
        return {"type": "map", "values": draw(inner)}
    if kind == "record":
        some = draw(st.lists(inner, min_size=1, max_size=2))
        fields = [{"name": f"f{i}", "type": each} for i, each in enumerate(some)]
        return {"type": "record", "name": name, "fields": fields}
    return kind


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    names = count()
    some = draw(st.lists(types(names), min_size=1, max_size=3))
    fields = [{"name": f"f{i}", "type": each} for i, each in enumerate(some)]
    return {"type": "record", "name": "R", "fields": fields}


def records(schema: Any) -> st.SearchStrategy[Any]:
    """Return records of a schema as fastavro writes them."""
    if isinstance(schema, list):
        return st.one_of(*map(records, schema))
    if isinstance(schema, str):
        return VALUES[schema]
    kind = schema["type"]
    if kind == "array":
        return st.lists(records(schema["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(st.text(max_size=2), records(schema["values"]), max_size=2)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    return st.fixed_dictionaries({f["name"]: records(f["type"]) for f in schema["fields"]})


@st.composite
def bodies(draw: st.DrawFn, schema: Any) -> bytes:
    """Draw a record's bytes, most of them damaged, or any."""
    if draw(st.integers(0, 3)) == 0:
        return bytes(draw(st.lists(BYTES, max_size=14)))
    body = bytearray(write(schema, draw(records(schema))))
    for kind in draw(
        st.lists(st.sampled_from(["byte", "cut", "insert", "delete"]), max_size=1)
    ):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        if kind == "byte" and body:
            body[at] = draw(BYTES)
        elif kind == "cut":
            del body[at:]
        elif kind == "insert":
            body[at:at] = bytes(draw(st.lists(BYTES, max_size=4)))
        else:
            del body[at : at + 1]
    return bytes(body)


def write(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def opinion(schema: Any, body: bytes) -> tuple[Any, bool]:
    """Return what fastavro reads, and whether it would write the same bytes: there it is strict."""
    parsed, stream, out = _parsed(json.dumps(schema)), io.BytesIO(body), io.BytesIO()
    try:
        record = fastavro.schemaless_reader(stream, parsed)
        fastavro.schemaless_writer(out, parsed, record)
    except Exception:  # fastavro lets through whatever it trips over
        return None, False
    return record, out.getvalue() == body[: stream.tell()]


@cache
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(raw(json.loads(schema)))


def column(value: Any, schema: Any) -> Any:
    """Return a value of fastavro's as the columns have it, of a union as a set of one."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        if len(kinds) > 1:
            return None if value is None else ("one of", repr(value))
        return None if value is None else column(value, kinds[0])
    if isinstance(schema, str):
        return value
    kind = schema["type"]
    if kind == "array":
        return [column(each, schema["items"]) for each in value]
    if kind == "map":
        return [{"key": k, "value": column(v, schema["values"])} for k, v in value.items()]
    if kind == "record":
        return {f["name"]: column(value[f["name"]], f["type"]) for f in schema["fields"]}
    return value


def chosen(value: Any, schema: Any) -> Any:
    """Return a column's value with what is set of each union, to be held beside `column`."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        if value is None:
            return None
        if len(kinds) > 1:
            return "one of", repr(next(each for each in value.values() if each is not None))
        return chosen(value, kinds[0])
    if isinstance(schema, str):
        return value
    kind = schema["type"]
    if kind == "array":
        return [chosen(each, schema["items"]) for each in value]
    if kind == "map":
        values = schema["values"]
        return [{"key": e["key"], "value": chosen(e["value"], values)} for e in value]
    if kind == "record":
        return {f["name"]: chosen(value[f["name"]], f["type"]) for f in schema["fields"]}
    return value


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def record(*fields: tuple[Any, ...], name: str = "R") -> dict[str, Any]:
    made = [{"name": n, "type": kind} | (rest[0] if rest else {}) for n, kind, *rest in fields]
    return {"type": "record", "name": name, "fields": made}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def read(writer: Any, reader: Any, *records: Any, bodies: Sequence[bytes] = ()) -> Decoded:
    """Decode by columns, and see that the strict reader alone says the same."""
    values = [HEAD + each for each in (*(write(writer, r) for r in records), *bodies)]
    decoder = Decoder(reader, lambda _: writer)
    decoded = decoder.decode(values, [None] * len(values))
    plan = decoder._plans[1]
    if isinstance(plan, Plan):
        plan._bulk = None
        alone = decoder.decode(values, [None] * len(values))
        assert alone.in_order()[0].equals(decoded.in_order()[0])
        assert alone.refusals == decoded.refusals
    assert decoded.frame.schema == pl.Schema(columns_of(reader))
    return decoded


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def malformed(record: Record, body: bytes) -> str | None:
    """Return why a body is no record, UTF-8 apart, which a map's keys still have to be."""
    try:
        record.read(body)
    except MalformedError as error:
        return str(error)
    except UnicodeDecodeError:
        return None
    return None


def noted(read: Any, bodies: list[bytes]) -> Any:
    """Return `read` with each body that it is given added to `bodies`."""

    def reading(self: Record, body: bytes) -> Any:
        bodies.append(body)
        return read(self, body)

    return reading
