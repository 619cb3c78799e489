"""Export: the rejects that are meant, with their records, as Parquet or as JSON lines."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq

from operators.avro import Lookup
from operators.records.columns import HEADERS, RECORD
from ops.dlq.filters import Filters
from ops.dlq.quarantine import Quarantine, with_fingerprints
from ops.dlq.records import COLUMNS, hexed
from ops.dlq.sought import Sought, explained, matching
from ops.dlq.streams import Explains, explainer_of

_SCHEMA: Final[dict[str, pl.DataType]] = {
    "source_topic": pl.String(), "source_partition": pl.Int32(), "source_offset": pl.Int64(),
    **dict.fromkeys(("time", "kafka_timestamp", "written_at"), pl.Datetime("us", "UTC")),
    "attempts": pl.Int32(), "key": pl.Binary(), "value": pl.Binary(), "headers": HEADERS,
}  # fmt: skip


def export(
    quarantines: list[Quarantine],
    filters: Filters,
    sought: Sought,
    lookup: Lookup,
    path: Path,
    *,
    decoded: bool,
    told: Callable[[int], None] = lambda _: None,
    noted: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the rejects to a file, which is there as a whole or not at all; return how many.

    `decoded` adds each value as JSON as far as it decodes. `noted` hears how many there will be
    before the file has its name. Raises OSError and QuarantineError.
    """
    kinds = {name: _SCHEMA.get(name, pl.String()) for name in (*COLUMNS, *RECORD)}
    if decoded:
        kinds["decoded"] = pl.String()
    written, looked = 0, 0
    part = path.with_name(f".{path.name}.part")
    try:
        with ExitStack() as stack:
            write = _writer(stack, part, path.suffix, kinds)
            for each in quarantines:
                before, explainer = looked, explainer_of(each.stream, lookup)

                def so_far(done: int, before: int = before) -> None:
                    nonlocal looked
                    looked = before + done
                    told(looked)

                for rows in matching(each, filters, sought, lookup, so_far):
                    rows = with_fingerprints(each.name, rows)
                    if decoded:
                        rows = rows.with_columns(_decoded(rows, explainer))
                    write(rows.select(pl.col(name).cast(kind) for name, kind in kinds.items()))
                    written += rows.height
        noted(written)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return written


def _decoded(rows: pl.DataFrame, explainer: Explains) -> pl.Series:
    found = [each.record for each in explained(rows, explainer)]
    texts = [None if each is None else json.dumps(each) for each in found]
    return pl.Series("decoded", texts, pl.String)


def _writer(
    stack: ExitStack, path: Path, suffix: str, kinds: dict[str, pl.DataType]
) -> Callable[[pl.DataFrame], None]:
    if suffix == ".jsonl":
        file = stack.enter_context(path.open("w", encoding="utf-8"))

        def lines(rows: pl.DataFrame) -> None:
            file.writelines(json.dumps(_line(row)) + "\n" for row in rows.iter_rows(named=True))

        return lines
    schema = pl.DataFrame(schema=kinds).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    parquet = stack.enter_context(pq.ParquetWriter(path, schema))
    return lambda rows: parquet.write_table(
        rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
    )


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON has it: bytes in hex, times in ISO, what was decoded as an object."""
    line: dict[str, Any] = {}
    for name, value in row.items():
        if name in ("key", "value"):
            line[f"{name}_hex"] = hexed(value)
        elif name == "headers":
            line[name] = [
                {"key": each["key"], "value_hex": hexed(each["value"])} for each in value or ()
            ]
        elif name == "decoded":
            line[name] = value and json.loads(value)
        else:
            line[name] = value.isoformat() if isinstance(value, datetime) else value
    return line
