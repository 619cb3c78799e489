"""Confluent-framed Avro records to columns, and a refusal for each record that is not one.

`framing` finds each record's schema id, `wire` knows what well-formed bytes are, `resolve`
reads a writer's columns as the reader's, `nesting` what is inside of them, and `decode` drives them
at the speed of columns.
"""

from operators.avro.decode import CODES, Decoded, Decoder
from operators.avro.framing import Lookup, SchemaId
from operators.avro.resolve import columns_of, values_of_fields
from operators.avro.rest import REST

__all__ = [
    "CODES",
    "REST",
    "Decoded",
    "Decoder",
    "Lookup",
    "SchemaId",
    "columns_of",
    "values_of_fields",
]
