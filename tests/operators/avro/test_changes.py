"""What a version changed, in words."""

from operators.avro.changes import compare


def record(*fields):
    return {"type": "record", "name": "R", "fields": list(fields)}


def test_every_kind_of_change_is_told():
    old = record(
        {"name": "a", "type": "int"},
        {"name": "b", "type": "string", "doc": "One."},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "gone", "type": "boolean"},
        {"name": "same", "type": "long"},
    )
    new = record(
        {"name": "a", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
         "default": None},
        {"name": "c", "type": "string", "doc": "Two.", "aliases": ["b"]},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}},
        {"name": "same", "type": "long"},
        {"name": "more", "type": "string", "default": "x"},
    )  # fmt: skip
    found = compare(old, new)
    assert [(each.kind, each.field, each.text) for each in found.changes] == [
        ("changed", "a", "type int → null | timestamp-micros"),
        ("changed", "a", "default none → null"),
        ("renamed", "c", "was b"),
        ("changed", "c", 'doc "One." → "Two."'),
        ("changed", "e", "type enum A B → enum A, else A"),
        ("added", "more", 'string, default "x"'),
        ("removed", "gone", "boolean"),
    ]
    assert found.new_reads_old == []
    assert "field gone: not written, and has no default" in found.old_reads_new
    assert compare(old, old).changes == []


def test_nested_types_are_told_as_people_say_them():
    price = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    item = {"type": "record", "name": "Item", "fields": [{"name": "price", "type": price}]}
    new = record(
        {"name": "items", "type": {"type": "array", "items": item}},
        {"name": "tags", "type": ["null", {"type": "map", "values": "string"}]},
        {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 3}},
    )
    assert [each.text for each in compare(record(), new).changes] == [
        "array of Item {price: decimal(12, 2)}",
        "null | map of string",
        "fixed of 3 bytes",
    ]
