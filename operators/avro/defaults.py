"""Defaults: values of fields as a schema's JSON states them."""

from typing import Any

from operators.avro.wire import Wire


def lies(value: Any, wire: Wire) -> Any:
    """Return a default as `Wire.read` would give it."""
    if value is None:
        return None
    if wire.kind == "union":
        return {"0": lies(value, wire.parts[0].wire)}
    if wire.kind == "record":
        return {
            p.name: lies(value[p.name] if p.name in value else p.schema["default"], p.wire)
            for p in wire.parts
        }
    if wire.kind == "array":
        return [lies(each, wire.parts[0].wire) for each in value]
    if wire.kind == "map":
        inner = wire.parts[1].wire
        return [{"key": key, "value": lies(each, inner)} for key, each in value.items()]
    if wire.kind == "enum":
        return wire.symbols.index(value)
    if wire.kind in ("bytes", "fixed"):
        found = value.encode("latin-1")
        if wire.kind == "fixed" and len(found) != wire.size:
            raise ValueError("a default of another size")
        return found
    return value


def plain(wire: Wire) -> Any:
    """Return a value that a field may have, as JSON: null or nothing, as far as its type has it."""
    if wire.null_first is not None or wire.kind == "null":
        return None
    if wire.kind == "union":
        return plain(wire.parts[0].wire)
    if wire.kind == "record":
        return {p.name: p.schema.get("default", plain(p.wire)) for p in wire.parts}
    if wire.kind == "fixed":
        return "\0" * wire.size
    if wire.kind == "bytes":
        return "\0"  # a decimal has a digit at least
    if wire.kind == "enum":
        return wire.symbols[0]
    return {"array": [], "map": {}, "string": "", "boolean": False}.get(wire.kind, 0)
