"""What a record is, for people: hex beside what it decoded to, and the place where it broke."""

import json
from collections.abc import Iterator
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from operators.avro.explain import Explained
from operators.avro.walk import Part
from ops.dlq.lines import printable, wide
from ops.dlq.records import COLUMNS, hexed

_HEX_BYTES: Final = 12
_MOST_TEXT: Final = 60
_DONE: Final = {
    "edit": "edited by edit",
    "replay": "sent again by replay",
    "discard": "discarded by discard",
}


def to_json(rows: list[dict[str, Any]], found: Explained) -> dict[str, Any]:
    """Return all about a record; bytes are in hex."""
    record = rows[0]
    value = record["value"]
    told = ("source_topic", "source_partition", "source_offset", "stream", "time")
    why = [name for name in (*COLUMNS, "sent_as", "became") if name not in told]
    return {
        **{name: record[name] for name in told},
        "reasons": [{name: row[name] for name in why} for row in rows],
        "key_hex": hexed(record["key"]),
        "headers": [
            {"key": each["key"], "value_hex": hexed(each["value"])}
            for each in record["headers"] or ()
        ],
        "value_hex": hexed(value),
        **decoded(found),
        "parts": [
            {
                "begin": part.begin, "end": part.end, "field": part.name, "type": part.kind,
                "value": part.value, "hex": hexed((value or b"")[part.begin : part.end]),
            }
            for part in found.parts
        ],
        "behind": len(value or b"") - found.end,
    }  # fmt: skip


def decoded(found: Explained) -> dict[str, Any]:
    """Return what a value decoded to, and where it broke."""
    broken = found.broken
    return {
        "record": found.record,
        "broken": broken
        and {
            "at": broken.at, "field": broken.name, "why": broken.why,
            "expected": broken.expected,
        },
    }  # fmt: skip


def show(rows: list[dict[str, Any]], found: Explained) -> None:
    """Print all about a record."""
    console = wide()
    for line in map(printable, _head(rows)):
        console.print(Text(line), soft_wrap=True)
    table = Table("byte", "hex", "field", "type", "value", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    for column in table.columns[:4]:
        column.no_wrap = True
    value, marks = rows[0]["value"] or b"", _marks(rows)
    for part in found.parts:
        table.add_row(*map(Text, _cells(value, part)))
        if part.name in marks and part.kind not in ("branch", "length", "block"):
            rule = marks.pop(part.name)
            table.add_row("", "", "", "", Text(f"✗ {rule}", "red"))
    for cells in _end(value, found):
        table.add_row(*cells)
    console.print(table)


def _head(rows: list[dict[str, Any]]) -> Iterator[str]:
    record = rows[0]
    place = "/".join(str(record[f"source_{n}"]) for n in ("topic", "partition", "offset"))
    yield f"{place}  {record['time']:%Y-%m-%dT%H:%M:%S.%f%z}  of {record['stream']}"
    for row in rows:
        tried = f", attempt {row['attempts']}" if (row["attempts"] or 1) > 1 else ""
        schema = f", schema id {row['schema_id']}" if row["schema_id"] else ""
        release = f"written by {row['flow_version']} at {row['written_at']:%Y-%m-%dT%H:%M:%S%z}"
        yield f"{row['stage']} {row['code']}  {row['fingerprint']}{schema}{tried}, {release}"
        yield from (f"  {told} {row[name]}" for name, told in _DONE.items() if row[name])
        if row["sent_as"]:
            yield f"  now {row['sent_as']}: {row['became']}"
        yield f"  {row['message']}"
    yield f"key: {_bytes(record['key'])}"
    for each in record["headers"] or ():
        yield f"header {printable(each['key'])}: {_bytes(each['value'])}"


def _marks(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return by field what a contract says of it that does not hold."""
    marks: dict[str, str] = {}
    for row in rows:
        if row["stage"] == "contract":
            for told in row["message"].split("; "):
                fields, _, rule = told.partition(": ")
                marks |= dict.fromkeys(fields.split(", "), rule)
    return marks


def _cells(value: bytes, part: Part) -> tuple[str, ...]:
    told = part.value if isinstance(part.value, str) else json.dumps(part.value)
    if part.kind == "string":
        told = json.dumps(told, ensure_ascii=False)
    shown = printable(told)
    if len(shown) > _MOST_TEXT:
        shown = f"{shown[:_MOST_TEXT]}…"
    return str(part.begin), _spaced(value[part.begin : part.end]), part.name, part.kind, shown


def _end(value: bytes, found: Explained) -> Iterator[tuple[str | Text, ...]]:
    """Yield what comes behind the parts: what broke, or what is ignored."""
    broken, rest = found.broken, value[found.end :]
    if broken is None:
        if rest:
            told = f"{len(rest):,} bytes behind the record, ignored"
            yield str(found.end), _spaced(rest), "", "", told
        return
    if rest:
        yield str(found.end), _spaced(rest), broken.name, "", ""
    why = f"✗ byte {broken.at}: {broken.why}; expected: {broken.expected}"
    yield str(broken.at), "^^", broken.name, "", Text(why, "red")


def _spaced(value: bytes) -> str:
    more = len(value) - _HEX_BYTES
    return value[:_HEX_BYTES].hex(" ") + (f" … +{more:,}" if more > 0 else "")


def _bytes(value: bytes | None) -> str:
    if value is None:
        return "none"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _spaced(value)
    return printable(json.dumps(text, ensure_ascii=False))
