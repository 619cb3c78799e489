"""Enforce: raw records that are good as they came, with their columns, and rejects."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.avro.decode import Decodes
from operators.contracts.contract import Checks
from operators.records.batches import Batch, RawBatch
from operators.records.breaker import Breaker
from operators.records.identities import Identities
from operators.records.raw import picked
from operators.steps.decode import Drifts, decode_observed


@dataclass(frozen=True)
class EnforceOut:
    """Streams of `enforce`.

    `passed` are the good records as they came and `good` their columns, a batch for each of `raw`;
    `rejects` are frames of `REJECT_COLUMNS`, `drifts` of `DRIFT_COLUMNS`, and `duplicates` of
    `repeated_columns`.
    """

    raw: Stream[RawBatch]
    passed: Stream[RawBatch]
    good: Stream[Batch]
    rejects: Stream[pl.DataFrame]
    drifts: Stream[pl.DataFrame]
    duplicates: Stream[pl.DataFrame]


class _Repeated(NamedTuple):
    """What is another record again, with `repeated_columns`."""

    rows: pl.DataFrame


def passed(raw: RawBatch, batch: Batch) -> RawBatch:
    """Return those of raw records, in offset order, that a batch has the columns of."""
    if len(batch) == len(raw):
        # Without the columns that it may have by now, which would travel along.
        return replace(raw)
    offsets = batch.frame["source_offset"].to_numpy()
    first, last = raw.offsets[[0, -1]] if len(raw) else (0, -1)
    if last - first == len(raw) - 1:
        # Only compaction and transactions leave gaps.
        return picked(raw, offsets - first)
    return picked(raw, np.searchsorted(raw.offsets, offsets))


@operator
def enforce(
    step_id: str,
    up: Stream[RawBatch],
    decoder: Decodes,
    contract: Checks,
    breaker: Breaker,
    identities: Identities | None = None,
) -> EnforceOut:
    """Decode records and check the contract; the breaker hears how much is refused.

    Every record is either in `passed` and `good`, or in `rejects`, or a duplicate where there are
    `identities`. Raises what `decode` does, and these.
    """

    def shim(
        raws: list[RawBatch],
    ) -> list[RawBatch | Batch | pl.DataFrame | Drifts | _Repeated]:
        drifts: list[pl.DataFrame] = []
        found = decode_observed(raws, decoder, contract, breaker, drifts)
        batches = [each for each in found if isinstance(each, Batch)]
        others = [each for each in found if not isinstance(each, Batch)]
        repeated: list[_Repeated] = []
        if identities is not None:
            told = list(map(identities.split, raws, batches))
            batches = [batch for batch, _ in told]
            repeated = [_Repeated(rows) for _, rows in told if rows is not None]
            for each in repeated:
                metrics.DUPLICATES.inc(each.rows.height)
        # First, as somebody waits for them.
        firsts = map(passed, raws, batches)
        return [*firsts, *batches, *others, *map(Drifts, drifts), *repeated]

    every = op.flat_map_batch("decode", up, shim)
    # No branch narrows what its items are.
    raw: Any = op.branch("passed", every, lambda item: isinstance(item, RawBatch))
    sides: Any = op.branch("good", raw.falses, lambda item: isinstance(item, Batch))
    others: Any = op.branch(
        "refused", sides.falses, lambda item: isinstance(item, pl.DataFrame)
    )
    told: Any = op.branch("told", others.falses, lambda item: isinstance(item, Drifts))
    drifts = op.map("drifts", told.trues, lambda item: item.rows)
    again = op.map("again", told.falses, lambda item: item.rows)
    return EnforceOut(up, raw.trues, sides.trues, others.trues, drifts, again)
