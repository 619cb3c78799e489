"""JSON records to columns, by the version of a JSON Schema, or of an Avro schema, that each is of.

`parsing` knows what a JSON record is, `columns` and `of_avro` which columns a schema's records
become, `version` whether a record is of one, and `decode` drives them.
"""

from operators.json_schema.columns import Column, columns_of
from operators.json_schema.compatibility import unreadable
from operators.json_schema.decode import CODES, JsonDecoder
from operators.json_schema.explain import JsonExplainer
from operators.json_schema.of_avro import of_avro
from operators.json_schema.tags import tags_of
from operators.json_schema.version import SchemaError, Version
from operators.json_schema.versions import ByField, ByHeader, ByRegistry, Newest, Versions

__all__ = [
    "CODES",
    "ByField",
    "ByHeader",
    "ByRegistry",
    "Column",
    "JsonDecoder",
    "JsonExplainer",
    "Newest",
    "SchemaError",
    "Version",
    "Versions",
    "columns_of",
    "of_avro",
    "tags_of",
    "unreadable",
]
