"""Decode: raw records to columns, what can't be decoded or breaks the contract to rejects."""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.avro.decode import Decoded, Decodes
from operators.avro.drift import drift_rows
from operators.changes import ChangeDecoder
from operators.columns.arrays import Int64s
from operators.columns.frames import filtered
from operators.contracts.contract import Checked, Checks
from operators.records.batches import Batch, RawBatch
from operators.records.breaker import Breaker, Runs
from operators.records.raw import coordinates, refused
from operators.records.rejects import BrokenContractError, Refusal

_LOG: Final = logging.getLogger("millstream")
_NONE: Final = np.zeros(0, np.int64)


@dataclass(frozen=True)
class DecodeOut:
    """Streams of `decode`: batches of good records, `REJECT_COLUMNS`, and `DRIFT_COLUMNS`."""

    oks: Stream[Batch]
    rejects: Stream[pl.DataFrame]
    drifts: Stream[pl.DataFrame]


class Drifts(NamedTuple):
    """What drifts of a batch, with `DRIFT_COLUMNS`."""

    rows: pl.DataFrame


def _read(
    raws: list[RawBatch], decoder: Decodes | ChangeDecoder, contract: Checks
) -> tuple[Decoded, Checked]:
    # One call each for all partitions that this activation brings.
    stamps = np.concatenate([raw.timestamps for raw in raws])
    values = list(chain.from_iterable(raw.values for raw in raws))
    headers = list(chain.from_iterable(raw.headers for raw in raws))
    if isinstance(decoder, ChangeDecoder):
        keys = list(chain.from_iterable(raw.keys for raw in raws))
        offsets = np.concatenate([raw.offsets for raw in raws])
        decoded = decoder.decode(values, headers, keys, offsets, stamps)
    else:
        column = None
        if decoder.by_columns:
            column = pl.concat(raw.columns["value"] for raw in raws)
        decoded = decoder.decode(values, headers, column)
    return decoded, contract(decoded.frame, pl.Series(stamps[decoded.rows]))


def refused_among(raw: RawBatch, decoder: Decodes | ChangeDecoder, contract: Checks) -> Int64s:
    """Return the offsets of those records that would be refused, ascending; nothing is counted."""
    decoded, checked = _read([raw], decoder, contract)
    rows = [each.row for each in decoded.refusals]
    rows += [int(decoded.rows[each.row]) for each in checked.refusals]
    return np.sort(raw.offsets[rows]) if rows else _NONE


def decode_batches(
    raws: list[RawBatch],
    decoder: Decodes | ChangeDecoder,
    contract: Checks,
    drifts: list[pl.DataFrame] | None = None,
) -> list[Batch | pl.DataFrame]:
    """Return a batch for each raw batch, and a frame of rejects if there are any.

    `drifts` are added to: frames of `DRIFT_COLUMNS`. Raises BrokenContractError for a record that
    breaks a check of severity stop.
    """
    decoded, checked = _read(raws, decoder, contract)
    for code, count in checked.warned.items():
        metrics.WARNED.labels(raws[0].progress.topic, code).inc(count)
    for (field, kind), count in checked.repaired.items():
        metrics.REPAIRED.labels(raws[0].progress.topic, field, kind).inc(count)
    for drift, drifting, first in decoded.drifted:
        metrics.DRIFTED.labels(raws[0].progress.topic, drift.outcome).inc(len(drifting))
        if first:
            _LOG.warning("topic %s: %s", raws[0].progress.topic, drift)
    broken = checked.refusals
    decoded = replace(decoded, frame=checked.frame)
    frame, rows = decoded.in_order(checked.good if broken else None)
    places = pl.DataFrame(coordinates(raws))
    if len(rows) < places.height:
        kept = np.zeros(places.height, np.bool_)
        kept[rows] = True
        places = filtered(places, pl.Series(kept))
    frame = places.hstack(frame.get_columns())

    cuts = np.searchsorted(rows, np.cumsum([0, *map(len, raws)]))
    result: list[Batch | pl.DataFrame] = [
        Batch(raw.progress, frame.slice(low, high - low))
        for raw, (low, high) in zip(raws, pairwise(cuts), strict=True)
    ]
    refusals = [
        *decoded.refusals,
        *(each.at(int(decoded.rows[each.row])) for each in broken),
    ]
    if refusals:
        _stop(raws, refusals)
        refusals.sort(key=lambda refusal: refusal.row)
        result.append(refused(raws, refusals))
    if decoded.drifted and drifts is not None:
        found = [(each.drift, each.rows) for each in decoded.drifted]
        drifts.append(drift_rows(coordinates(raws)[:3], found))
    return result


def _stop(raws: list[RawBatch], refusals: list[Refusal]) -> None:
    found = next((each for each in refusals if each.stops), None)
    if found is None:
        return
    topic, partition, offset, _ = (column[found.row] for column in coordinates(raws))
    raise BrokenContractError(
        f"record {topic}/{partition}/{offset} breaks {found.code} of its contract, whose severity "
        f"is stop: {found.message}; mend what wrote it and deal with the record, or make the "
        "severity quarantine, and start again"
    )


def _observe(breaker: Breaker, raws: list[RawBatch], rejects: list[pl.DataFrame]) -> None:
    refused: dict[int, Int64s] = {}
    for frame in rejects:
        for (mine,), some in frame.group_by("source_partition"):
            refused[int(mine)] = some["source_offset"].sort().to_numpy()
    for raw in raws:
        topic, partition, offsets = raw.progress.topic, raw.progress.partition, raw.offsets
        if not len(offsets):
            continue
        bad = refused.get(partition, _NONE)
        bad = bad[slice(*np.searchsorted(bad, [offsets[0], offsets[-1] + 1]))]
        runs, first = Runs.of(offsets, bad), int(offsets[0])
        for line in breaker.observe(topic, partition, len(raw), len(bad), runs, first):
            _LOG.warning("%s", line)
            metrics.PARTITION_PAUSED.labels(topic, partition).set(breaker.paused(partition))


def decode_observed(
    raws: list[RawBatch],
    decoder: Decodes | ChangeDecoder,
    contract: Checks,
    breaker: Breaker,
    drifts: list[pl.DataFrame] | None = None,
) -> list[Batch | pl.DataFrame]:
    """Return what `decode_batches` does, counted, and heard of by the breaker."""
    result = decode_batches(raws, decoder, contract, drifts)
    rejects = [item for item in result if isinstance(item, pl.DataFrame)]
    for frame in rejects:
        for reason, count in Counter(frame[["stage", "code"]].iter_rows()).items():
            metrics.REJECTS.labels(*reason).inc(count)
    _observe(breaker, raws, rejects)
    return result


@operator
def decode(
    step_id: str,
    up: Stream[RawBatch],
    decoder: Decodes | ChangeDecoder,
    contract: Checks,
    breaker: Breaker,
) -> DecodeOut:
    """Decode and check the contract; the breaker hears of each partition how much is refused.

    Every record is either good or a reject. Raises TooManyRejectsError,
    BrokenContractError, and whatever the decoder's schema look-up raises when its registry is away.
    """

    def shim(raws: list[RawBatch]) -> list[Batch | pl.DataFrame | Drifts]:
        drifts: list[pl.DataFrame] = []
        result = decode_observed(raws, decoder, contract, breaker, drifts)
        return [*result, *map(Drifts, drifts)] if drifts else [*result]

    both = op.flat_map_batch("decode", up, shim)
    sides = op.branch("good", both, lambda item: isinstance(item, Batch))
    others: Any = op.branch(
        "refused", sides.falses, lambda item: isinstance(item, pl.DataFrame)
    )
    drifts = op.map("drifts", others.falses, lambda item: item.rows)
    return DecodeOut(sides.trues, others.trues, drifts)  # type: ignore[arg-type] # branch does not narrow
