"""Kinds: of which type each field of a schema is, as contracts know it."""

from typing import Any

from schemas import AvroSchema


def field_kinds(schema: AvroSchema) -> dict[str, tuple[str, bool]]:
    """Return of each field its type, the logical one where it has one, and if it may be null."""
    return {field["name"]: _kind(field["type"]) for field in schema["fields"]}


def _kind(avro: Any) -> tuple[str, bool]:
    if isinstance(avro, list):
        kinds = [branch for branch in avro if branch != "null"]
        return _kind(kinds[0])[0] if len(kinds) == 1 else "union", "null" in avro
    if isinstance(avro, dict):
        kind = avro.get("logicalType") or avro["type"]
        return (str(kind), False) if isinstance(kind, str) else _kind(kind)
    return str(avro), False
