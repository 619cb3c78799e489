"""Editing: what would become of rejects if they were changed, by the flow's own code."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
import polars as pl

import schemas
from flows import settings as settings_
from flows.enforced.topic import Enforced
from flows.streams import Stream
from operators.avro import Decoder, Lookup, SchemaId
from operators.avro.decode import Decodes
from operators.avro.encode import NotOfSchemaError, encode, framed
from operators.avro.explain import Explained
from operators.connectors.registry import schema_source as registry
from ops.dlq.changes import Assignments, ChangeError, changes
from ops.dlq.edits import edited
from ops.dlq.judge import judge_of
from ops.dlq.quarantine import PLACE, QuarantineError, with_fingerprints
from ops.dlq.records import headers_of
from ops.dlq.sought import explained
from ops.dlq.streams import explainer_of, newest_of, topic_of
from schemas import AvroSchema

GOOD: Final = "silver"
UNCHANGED: Final = "unchanged"
AS_IT_CAME: Final = "as it came"
_STATES: Final = {
    "replayed": "replayed before",
    "discarded": "discarded: restore it first",
}
_UNDECODED: Final = "cannot be decoded: replace it with --as"
_NO_COLUMNS: Final = "is not of its schema, and has no columns to set: change it with --patch"
_KINDS: Final[dict[str, pl.DataType]] = {
    "source_topic": pl.String(), "source_partition": pl.Int32(), "source_offset": pl.Int64(),
    "fingerprint": pl.String(), "original": pl.Binary(), "value": pl.Binary(),
    "changes": pl.String(), "outcome": pl.String(),
}  # fmt: skip

Write = Callable[[Any], bytes]
"""Makes a value of a record; raises NotOfSchemaError."""
Wanted = tuple[Any, Write] | str
"""The record that is to be, with what writes it; or why there is none."""
Edit = Callable[[pl.DataFrame, Sequence[Explained]], list[Wanted]]
"""Says what rejects, with their records, are to be."""


def each(change: Callable[[Any], Any]) -> Edit:
    """Return the edit that changes each record that decodes by itself, which keeps its schema."""

    def edit(_: pl.DataFrame, found: Sequence[Explained]) -> list[Wanted]:
        wanted: list[Wanted] = []
        for one in found:
            write = _writer(one)
            if one.broken or write is None:
                wanted.append(_UNDECODED)
                continue
            try:
                wanted.append((change(one.record), write))
            except ChangeError as error:
                wanted.append(str(error))
        return wanted

    return edit


def _writer(one: Explained) -> Write | None:
    """Return what writes a record as it was written, None where that is not known."""
    if one.json_head is not None:
        return partial(_json, one.json_head)
    if one.schema is None or one.schema_id is None:
        return None
    return partial(_avro, one.schema, one.schema_id)


def _json(head: bytes, record: Any) -> bytes:
    return head + orjson.dumps(record)


def _avro(schema: AvroSchema, schema_id: SchemaId, record: Any) -> bytes:
    return framed(schema_id) + encode(record, schema)


def assigned(texts: Sequence[str], stream: Stream, lookup: Lookup) -> Edit:
    """Return the edit that assigns to fields of all records at once; raises ChangeError."""
    assignments = Assignments(texts, stream.fields)
    decoder: Decodes
    if isinstance(stream, Enforced):
        decoder = stream.decoder(lookup)
    else:
        decoder = Decoder(schemas.latest(stream.record), lookup)

    def edit(rows: pl.DataFrame, found: Sequence[Explained]) -> list[Wanted]:
        headers = rows.select("headers").to_dicts()
        decoded = decoder.decode(
            rows["value"].to_list(), [headers_of(h) or None for h in headers]
        )
        frame, places = decoded.in_order()
        new = dict(zip(places.tolist(), assignments.of(frame), strict=True))

        def one(record: Any, row: int) -> Any:
            if row not in new:
                raise ChangeError(_NO_COLUMNS)
            lacking = [name for name in new[row] if name not in record]
            if lacking:
                raise ChangeError(f"its schema has no field {', '.join(lacking)}")
            return record | new[row]

        wanted: list[Wanted] = []
        for row, each_ in enumerate(found):
            wanted += each(partial(one, row=row))(rows, [each_])
        return wanted

    return edit


def replaced(record: Any, stream: Stream) -> Edit:
    """Return the edit that puts a whole record in a reject's place, written by the newest schema.

    Raises QuarantineError.
    """
    _, schema = newest_of(stream)
    if isinstance(stream, Enforced) and stream.written == "json":
        write = partial(_json, framed(newest_id(stream)) if stream.registered else b"")
    else:
        write = partial(_avro, schema, newest_id(stream))
    return lambda _, found: [(record, write) for _ in found]


def newest_id(stream: Stream) -> SchemaId:
    """Return the id of the newest schema of a stream's records; raises QuarantineError."""
    record, settings = stream.record, settings_.registry_settings()
    version, newest = newest_of(stream)
    url = settings.schema_registry.get_secret_value()
    if not registry.is_registry(url):
        return schemas.local_id(record, version)
    there = registry.published(url, settings.registry_config, topic_of(stream))
    for number, schema in there.values():
        if schema == newest:
            return number
    raise QuarantineError(
        f"the registry has no version {version} of {record}: run millstream schemas register"
    )


@dataclass(frozen=True)
class Editor:
    """Changes the rejects of a stream."""

    stream: Stream
    lookup: Lookup

    def propose(self, rows: pl.DataFrame, edits: pl.DataFrame, edit: Edit) -> pl.DataFrame:
        """Return what would become of rejects, with their records: a row for each.

        `edits` are those that count so far, which are gone on with. `changes` is JSON; `outcome`
        is `GOOD` where the value would be good.
        """
        rows = with_fingerprints(self.stream.name, rows.filter(pl.col("stage") != "rule"))
        before = edited(rows, edits)
        closed = pl.col("state").replace_strict(_STATES, default=None, return_dtype=pl.String)
        outcomes: list[str | None] = before.select(closed).to_series().to_list()
        found = explained(before, explainer_of(self.stream, self.lookup))
        values: list[bytes | None] = [None] * before.height
        told: list[str] = ["[]"] * before.height
        for row, wanted in enumerate(edit(before, found)):
            if outcomes[row] is not None:
                continue
            if isinstance(wanted, str):
                outcomes[row] = wanted
                continue
            record, write = wanted
            differs = changes(found[row].record, record)
            told[row] = json.dumps([each.to_json() for each in differs])
            if not differs and found[row].broken is None:
                outcomes[row] = UNCHANGED
                continue
            try:
                values[row] = write(record)
            except NotOfSchemaError as error:
                outcomes[row] = f"not of the schema: {error}"
        return self._judged(before, rows["value"], values, told, outcomes)

    def _judged(
        self,
        before: pl.DataFrame,
        original: pl.Series,
        values: list[bytes | None],
        told: list[str],
        outcomes: list[str | None],
    ) -> pl.DataFrame:
        found = before.with_columns(
            pl.Series("value", values, pl.Binary),
            pl.Series("changes", told, pl.String),
            pl.Series("outcome", outcomes, pl.String),
            original.alias("original"),
        )
        new = found.filter(pl.col("value").is_not_null())
        as_new = new.select(*PLACE, edit=pl.lit(""), value="value")
        judged = judge_of(self.stream, self.lookup)(edited(new.drop("edit"), as_new))
        refused = pl.format("refused: {} {}", "stage", "code").fill_null(GOOD)
        judged = judged.select(*PLACE, judged=refused)
        found = found.join(judged, on=PLACE, how="left", maintain_order="left")
        return found.with_columns(outcome=pl.coalesce("outcome", "judged")).select(
            pl.col(name).cast(kind) for name, kind in _KINDS.items()
        )


def undone(stream: Stream, rows: pl.DataFrame, edits: pl.DataFrame) -> pl.DataFrame:
    """Return the rejects that were edited, as `Editor.propose` does, as they came."""
    rows = with_fingerprints(stream.name, rows.filter(pl.col("stage") != "rule"))
    found = rows.join(edits.select(PLACE), on=PLACE, how="semi").with_columns(
        original="value",
        value=pl.lit(None, pl.Binary),
        changes=pl.lit("[]"),
        outcome=pl.when(state="replayed").then(pl.lit(_STATES["replayed"])).otherwise(
            pl.lit(AS_IT_CAME)
        ),
    )  # fmt: skip
    return found.select(pl.col(name).cast(kind) for name, kind in _KINDS.items())
