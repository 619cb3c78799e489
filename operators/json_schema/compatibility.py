"""Compatibility of JSON Schemas: whether each value of one is a value of another.

It is told keyword by keyword, and only where that is sure: of what puts schemas together (anyOf,
if and the like) any difference is told. An optional property that is added is no difference, though
who wrote the version before could have had one of that name, of any type: it declared none.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from operators.json_schema.columns import resolved

_SAYS_NOTHING: Final = {
    "$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description",
    "default", "examples", "deprecated", "readOnly", "writeOnly", "pii",
}  # fmt: skip
_TYPES: Final = {"string", "number", "integer", "boolean", "object", "array", "null"}
_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOOKED_INTO: Final = {
    "type", "enum", "const", "required", "properties", "additionalProperties", "items",
    *_LEAST, *_MOST,
}  # fmt: skip
_OF: Final[dict[type, str]] = {
    str: "string", bool: "boolean", int: "integer", float: "number", dict: "object",
    list: "array", type(None): "null",
}  # fmt: skip
_MOST_DEPTH: Final = 32


def unreadable(writer: Any, reader: Any) -> list[str]:
    """Return why not each value of `writer` is one of `reader`; empty if each is."""
    return list(dict.fromkeys(_differences(writer, reader, (writer, reader), "", 0)))


def _differences(
    writer: Any, reader: Any, roots: tuple[Any, Any], at: str, depth: int
) -> Iterator[str]:
    if reader is True or reader == {} or writer is False:
        return
    where = f"{at}: " if at else ""
    written = {} if writer is True else resolved(writer, roots[0])
    read = resolved(reader, roots[1])
    if written is None or read is None or depth > _MOST_DEPTH:
        if written != read:
            yield f"{where}cannot be told, as it is no schema that is looked into"
        return
    if values := _values(written):
        allowed = _values(read)
        lacking = [v for v in values if allowed and v not in allowed]
        if lacking:
            yield f"{where}the values {', '.join(map(str, lacking))} are not taken"
    elif _values(read):
        yield f"{where}other values than {', '.join(map(str, _values(read)))} are not taken"
    if lost := sorted(_types(written) - _types(read)):
        yield f"{where}{' and '.join(lost)} is not taken"
    for name in (*_LEAST, *_MOST):
        bound, was = read.get(name), written.get(name)
        if not values and _is_tighter(name, bound, was):
            yield f"{where}{name} is {bound}, and was {'nothing' if was is None else was}"
    for name in sorted(read.keys() - _LOOKED_INTO - _SAYS_NOTHING):
        if read[name] != written.get(name):
            yield f"{where}{name} is another, which is not looked into"
    if added := [n for n in read.get("required", ()) if n not in written.get("required", ())]:
        yield f"{where}{', '.join(added)} has to be there"
    yield from _inside(written, read, roots, at, depth)


def _is_tighter(name: str, bound: Any, was: Any) -> bool:
    """Tell whether a bound takes less than another one did, None being none."""
    if bound is None or bound == was or (bound == 0 and name in _LEAST[2:]):
        return False
    # Of drafts before 6 some are Booleans.
    if was is None or isinstance(bound, bool) or isinstance(was, bool):
        return True
    return bool(was < bound if name in _LEAST else was > bound)


def _inside(
    written: Mapping[str, Any],
    read: Mapping[str, Any],
    roots: tuple[Any, Any],
    at: str,
    depth: int,
) -> Iterator[str]:
    """Yield what differs in properties and items."""
    where = f"{at}: " if at else ""
    had, has = written.get("properties", {}), read.get("properties", {})
    others, other = (
        written.get("additionalProperties", True),
        read.get("additionalProperties", True),
    )
    for name, schema in had.items():
        path = f"{at}.{name}" if at else name
        if name in has or other is not False:
            yield from _differences(schema, has.get(name, other), roots, path, depth + 1)
        else:
            yield f"{where}{name} is not taken"
    if other is False and others is not False:
        yield f"{where}properties that are not declared are not taken"
    elif other is not False:
        yield from _differences(others, other, roots, f"{at}.*" if at else "*", depth + 1)
    if "items" in read:
        items = written.get("items", True)
        yield from _differences(items, read["items"], roots, f"{at}[]", depth + 1)


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values that a schema names, none where it names none."""
    return [schema["const"]] if "const" in schema else list(schema.get("enum") or ())


def _types(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that a schema takes; a number may be an integer."""
    stated = schema.get("type")
    if stated is None:
        found = {_OF[type(each)] for each in _values(schema)} or set(_TYPES)
    else:
        found = set(stated if isinstance(stated, list) else [stated])
    return found | ({"integer"} if "number" in found else set())
