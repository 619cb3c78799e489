"""``millstream schemas drift``: which schemas wrote what is in bronze and are no version here."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

import schemas
from flows import settings as settings_
from flows.streams import Stream, as_published
from operators.avro import Decoder, Lookup, SchemaId
from operators.avro.drift import Drift
from operators.avro.framing import Headers, split
from operators.avro.payloads import Payloads
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.records.columns import KEY_ID
from ops.schemas.draft import registry_lookup
from ops.sealed import decrypted

_COLUMNS: Final = (
    "source_topic", "source_partition", "source_offset", "kafka_timestamp", "value", "headers"
)  # fmt: skip


@dataclass
class Found:
    """A schema that is no version here, and the records that it wrote: how many, and since when.

    `since` and `until` are Kafka's times, null where records have none; `first` is the place of one
    of the earliest.
    """

    stream: str
    drift: Drift
    records: int = 0
    first: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        span = (
            f", {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"
            if self.since
            else ""
        )
        some = "record" if self.records == 1 else "records"
        return (
            f"{self.stream}: {self.drift} ({self.records:,} {some} from {self.first} on{span})"
        )


def drift(args: argparse.Namespace) -> int:
    """Print the drift of each stream; returns 0, or 1 where records are refused for it.

    Raises ValueError for a registry that cannot be used, and RegistryUnavailableError.
    """
    root = args.root or os.environ.get(f"{settings_.PREFIX}DELTA_ROOT")
    if not root:
        settings_.refuse("no --root, and MILLSTREAM_DELTA_ROOT is not set", 2)
    lookup = registry_lookup()
    there = [
        each
        for each in as_published()
        if each.alone
        and (not args.streams or each.name in args.streams)
        and DeltaTable.is_deltatable(table_uri(root, each.bronze.name))
    ]
    if not there:
        settings_.refuse(f"no bronze tables under {root}: name their folder with --root", 1)
    found = [each for stream in there for each in drifts(stream, root, lookup)]
    if args.json:
        told = [
            asdict(each) | {"drift": asdict(each.drift) | {"outcome": each.drift.outcome}}
            for each in found
        ]
        json.dump(told, sys.stdout, indent=2, default=str)
        print()
    else:
        for each in found:
            print(each)
        if not found:
            print("all records are of versions that are here")
    return 1 if any(each.drift.refused for each in found) else 0


def drifts(stream: Stream, root: str, lookup: Lookup) -> list[Found]:
    """Return what drifts of a stream's bronze table, which is there."""
    uri = table_uri(root, stream.bronze.name)
    versions = [schemas.load(stream.record, n) for n in schemas.versions(stream.record)]
    decoder = Decoder(versions[-1], lookup, versions)
    known: dict[SchemaId, Found | None] = {}
    for rows in _batches(uri):
        values = rows["value"].to_list()
        headers = [_pairs(each) for each in rows["headers"].to_list()]
        groups, _ = split(Payloads.of(values), headers)
        for schema_id, several in groups.items():
            places = [row for group in several for row in group.rows.tolist()]
            if schema_id not in known:
                one = places[0]
                drifted = decoder.decode([values[one]], [headers[one]]).drifted
                known[schema_id] = Found(stream.name, drifted[0].drift) if drifted else None
            each = known[schema_id]
            if each is not None:
                _add(each, rows[places])
    return [each for each in known.values() if each is not None]


def _add(found: Found, rows: pl.DataFrame) -> None:
    found.records += rows.height
    times = rows["kafka_timestamp"].drop_nulls().to_list()
    since = min(times, default=None)
    if not found.first or (since and (found.since is None or since < found.since)):
        earliest = rows.sort(*_COLUMNS[3:4], *_COLUMNS[1:3], nulls_last=True)
        found.first, found.since = "/".join(map(str, earliest.row(0)[:3])), since
    found.until = max([*times, *([found.until] if found.until else [])], default=None)


def _batches(uri: str) -> Iterator[pl.DataFrame]:
    handle = DeltaTable(uri)
    names = [*_COLUMNS, *([KEY_ID] if KEY_ID in columns_of(handle) else [])]
    query = f"SELECT {', '.join(names)} FROM rows"  # noqa: S608 # our own
    for batch in QueryBuilder().register("rows", handle).execute(query):
        rows = pl.DataFrame(pl.from_arrow(pa.record_batch(batch)))
        yield decrypted(rows, ("value", "headers"))


def _pairs(headers: list[dict[str, Any]] | None) -> Headers:
    return [(each["key"], each["value"]) for each in headers or ()]
