"""What differs between two schemas of a record, field by field, and who can read whom."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from operators.avro.compatibility import unreadable
from schemas import AvroSchema

_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """A field that is added, removed or renamed, or another fact of one that is both sides'."""

    kind: Literal["added", "removed", "renamed", "changed"]
    field: str
    text: str


@dataclass(frozen=True)
class Difference:
    """The changes from one schema to another; empty reasons mean that each record can be read."""

    changes: list[Change]
    new_reads_old: list[str]
    old_reads_new: list[str]


def compare(old: AvroSchema, new: AvroSchema) -> Difference:
    """Return what differs; both are valid schemas."""
    return Difference(changes_between(old, new), unreadable(old, new), unreadable(new, old))


def changes_between(old: AvroSchema, new: AvroSchema) -> list[Change]:
    """Return the changes from one schema to another, field by field."""
    before = {field["name"]: field for field in old["fields"]}
    after = {field["name"]: field for field in new["fields"]}
    changes: list[Change] = []
    came_from: set[str] = set()
    for name, field in after.items():
        was = before.get(name)
        if was is None:
            alias = next((a for a in field.get("aliases", ()) if a in before), None)
            if alias is None:
                changes.append(Change("added", name, _told(field)))
                continue
            came_from.add(alias)
            changes.append(Change("renamed", name, f"was {alias}"))
            was = before[alias]
        changes += [Change("changed", name, text) for text in _facts(was, field)]
    return changes + [
        Change("removed", name, _told(field))
        for name, field in before.items()
        if name not in after and name not in came_from
    ]


def _facts(was: dict[str, Any], field: dict[str, Any]) -> list[str]:
    found = []
    for fact in ("type", "default", "doc"):
        before, after = was.get(fact, _ABSENT), field.get(fact, _ABSENT)
        if before != after:
            told = _value(fact, before), _value(fact, after)
            # One may name a type, or its namespace, that the other states on the spot.
            if fact != "type" or told[0] != told[1]:
                found.append(f"{fact} {told[0]} → {told[1]}")
    return found


def _told(field: dict[str, Any]) -> str:
    default = f", default {json.dumps(field['default'])}" if "default" in field else ""
    return f"{_type(field['type'])}{default}"


def _value(fact: str, value: Any) -> str:
    if value is _ABSENT:
        return "none"
    return _type(value) if fact == "type" else json.dumps(value, ensure_ascii=False)


def _type(kind: Any) -> str:
    """Return a type as people say it: ``null | timestamp-micros``, ``enum A B``."""
    if isinstance(kind, list):
        return " | ".join(map(_type, kind))
    if not isinstance(kind, dict):
        return str(kind).rpartition(".")[2]
    if "symbols" in kind:
        default = f", else {kind['default']}" if "default" in kind else ""
        return f"enum {' '.join(kind['symbols'])}{default}"
    if kind["type"] in ("array", "map"):
        return f"{kind['type']} of {_type(kind.get('items', kind.get('values')))}"
    if kind["type"] == "record":
        inner = ", ".join(f"{each['name']}: {_told(each)}" for each in kind["fields"])
        return f"{kind['name'].rpartition('.')[2]} {{{inner}}}"
    if kind.get("logicalType") == "decimal":
        return f"decimal({kind.get('precision')}, {kind.get('scale', 0)})"
    size = f" of {kind['size']} bytes" if kind["type"] == "fixed" else ""
    return str(kind.get("logicalType") or _type(kind["type"])) + size
