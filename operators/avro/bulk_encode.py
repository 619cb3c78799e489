"""Encode many rows of one schema in one call."""

from typing import Any, Final

import orjson
import polars as pl
import pyarrow as pa
import pyruhvro

_BLOCK: Final = 50_000


def encode(schema: dict[str, Any], rows: pl.DataFrame) -> pa.BinaryArray:
    """Return each row as Avro of a flat record's schema, without a frame.

    `rows` has the schema's columns; others are left out.
    """
    columns = rows.select(
        # The encoder takes the physical value: µs since 1970 UTC.
        pl.col(name).dt.replace_time_zone(None)
        if isinstance(rows.schema[name], pl.Datetime)
        else pl.col(name)
        for name in (entry["name"] for entry in schema["fields"])
    )
    table = columns.to_arrow(compat_level=pl.CompatLevel.oldest())
    narrow = pa.schema(
        pa.field(
            entry.name, pa.string() if pa.types.is_large_string(entry.type) else entry.type
        )
        for entry in table.schema
    )
    text = orjson.dumps(schema).decode()
    parts = [
        part
        for batch in table.cast(narrow).to_batches(max_chunksize=_BLOCK)
        for part in pyruhvro.serialize_record_batch(batch, text, 1)
    ]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.binary())
