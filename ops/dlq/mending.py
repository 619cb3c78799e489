"""Mending: what a contract's repairs would make of one reject, as the flow would try them today."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import orjson
import polars as pl

from operators.avro import Lookup
from operators.changes import check_rows
from operators.columns.durations import micros
from operators.columns.times import in_python
from operators.contracts.contract import Checked, Tried
from operators.contracts.repairs import noted
from operators.records.batches import Progress, RawBatch
from operators.steps.decode import decode_batches
from ops.dlq.quarantine import PLACE
from ops.dlq.records import headers_of
from ops.dlq.streams import declared_contract, decoder_of, future_bound_of, named


@dataclass(frozen=True)
class Mended:
    """What repairs change, by field: what it was, becomes, and by which of them.

    `refused` are stage, code and message of why the record is refused for all that, None where it
    would be good; `declared` is how many repairs its contract has.
    """

    changes: list[dict[str, Any]]
    refused: tuple[str, str, str] | None
    declared: int

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        refused = self.refused and dict(
            zip(("stage", "code", "message"), self.refused, strict=True)
        )
        return {"declared": self.declared, "changes": self.changes, "refused": refused}

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        for each in self.changes:
            was, becomes = (
                json.dumps(each[name], ensure_ascii=False) for name in ("was", "becomes")
            )
            yield f"repair {', '.join(each['by'])}: {each['field']} {was} → {becomes}"
        yield self._becomes()

    def _becomes(self) -> str:
        if self.refused is None:
            how = "repaired so, it" if self.changes else "as it is, it"
            return f"{how} would be good today: millstream dlq replay"
        stage, code, message = self.refused
        if not self.declared:
            how = "its contract has no repairs"
        else:
            how = "repaired so" if self.changes else "no repair of its contract changes it"
        return f"{how}: it would be refused, {stage} {code}: {message}"


def mended_of(row: dict[str, Any], lookup: Lookup) -> Mended:
    """Return what today's repairs make of a reject with its record; raises SettingsError."""
    stream = named(row["stream"])
    contract, bound = declared_contract(stream), micros(future_bound_of(stream))
    tried: list[tuple[pl.DataFrame, Tried]] = []

    def check(frame: pl.DataFrame, timestamps: pl.Series) -> Checked:
        tried.append((frame, contract.tried(frame, timestamps, bound)))
        found = contract.check(frame, timestamps, bound)
        # It is looked at and not read: no flow has to end.
        return found._replace(refusals=[replace(each, stops=False) for each in found.refusals])

    checks = check if stream.changes is None else partial(check_rows, check)
    found = decode_batches([_batch(row)], decoder_of(stream, lookup), checks)
    refused = None
    for rejects in found:
        if isinstance(rejects, pl.DataFrame):
            refused = rejects[["stage", "code", "message"]].row(0)
    changes: list[dict[str, Any]] = []
    for before, after in tried:
        if before.height:
            changes += _changes(before, after)
        for each in after.refusals:
            # Of what is left, where the contract's own look says what there was before.
            refused = each.stage, each.code, each.message
    return Mended(changes, refused, len(contract.repairs))


def _changes(before: pl.DataFrame, after: Tried) -> list[dict[str, Any]]:
    text = noted(before, after.frame, after.done)[0]
    found = []
    for each in json.loads(text or "[]"):
        value = orjson.loads(orjson.dumps(in_python(after.frame[each["field"]])[0]))
        found.append(
            {"field": each["field"], "was": each["was"], "becomes": value, "by": each["by"]}
        )
    return found


def _batch(row: dict[str, Any]) -> RawBatch:
    """Return the batch that it would come as."""
    topic, partition, offset = (row[name] for name in PLACE)
    # By its first time, as when it is judged.
    at: datetime = row["kafka_timestamp"] or datetime.now(UTC)
    return RawBatch(
        Progress(topic, partition, 1, offset),
        np.array([offset]),
        np.array([int(at.timestamp() * 1000)]),
        [row["key"]],
        [row["value"]],
        [headers_of(row) or None],
    )
