"""Tags: which properties of a JSON Schema are tagged as personal data, by their keyword `pii`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from operators.json_schema.columns import resolved

_PII: Final = "pii"
_MOST_DEPTH: Final = 16


def tags_of(schema: Any) -> list[dict[str, Any]]:
    """Return each property as Avro would have it as a field: its `name`, and its tag as `pii`.

    One that has tags inside has them in a record as its `type`.
    """
    whole = resolved(schema, schema) if isinstance(schema, Mapping) else None
    return [_field(name, each, schema, 0) for name, each in _properties(whole)]


def _field(name: str, schema: Any, root: Any, depth: int) -> dict[str, Any]:
    found = resolved(schema, root) or {}
    tag = found.get(_PII)
    made: dict[str, Any] = {"name": name}
    if tag is not None:
        made[_PII] = tag
    if depth < _MOST_DEPTH:
        inside = [_field(n, each, root, depth + 1) for n, each in _within(found, root)]
        made["type"] = {"type": "record", "fields": inside}
    return made


def _within(schema: Mapping[str, Any], root: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value of a schema may have inside, each with its name, items of lists too."""
    yield from _properties(schema)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield "items", items
    for word in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(word) or ():
            if isinstance(each, Mapping):
                yield from _within(resolved(each, root) or {}, root)


def _properties(schema: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    found = (schema or {}).get("properties")
    if isinstance(found, Mapping):
        yield from found.items()
