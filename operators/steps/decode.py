"""Decode: raw records to columns, what can't be decoded or breaks the contract to rejects."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.avro import Decoder
from operators.batches import Batch, RawBatch
from operators.records import coordinates, refused
from operators.rejects import Breaker, Refusal

Contract = Callable[[pl.DataFrame, pl.Series], tuple[pl.Series, list[Refusal]]]
"""Maps (decoded rows, their Kafka timestamps in ms) to (mask of good rows, refusals)."""


@dataclass(frozen=True)
class DecodeOut:
    """Streams of `decode`: batches of good records, and frames of `REJECT_COLUMNS`."""

    oks: Stream[Batch]
    rejects: Stream[pl.DataFrame]


def decode_batches(
    raws: list[RawBatch], decoder: Decoder, contract: Contract
) -> list[Batch | pl.DataFrame]:
    """Return a batch for each raw batch, and a frame of rejects for those that have any."""
    # One call each for all partitions that this activation brings.
    decoded = decoder.decode(
        [value for raw in raws for value in raw.values],
        [headers for raw in raws for headers in raw.headers],
    )
    stamps = np.concatenate([raw.timestamps for raw in raws])[decoded.rows]
    good, broken = contract(decoded.frame, pl.Series(stamps))
    refusals = [
        *decoded.refusals,
        *(replace(each, row=int(decoded.rows[each.row])) for each in broken),
    ]
    refusals.sort(key=lambda refusal: refusal.row)
    frame, rows = decoded.in_order(good if broken else None)
    places = pl.DataFrame(coordinates(raws))
    if len(rows) < places.height:
        places = places[rows]
    frame = pl.concat([places, frame], how="horizontal")

    result: list[Batch | pl.DataFrame] = []
    refused_rows = [refusal.row for refusal in refusals]
    start = 0
    for raw in raws:
        end = start + len(raw)
        low, high = np.searchsorted(rows, [start, end])
        result.append(Batch(raw.progress, frame.slice(low, high - low)))
        mine = refusals[bisect_left(refused_rows, start) : bisect_left(refused_rows, end)]
        if mine:
            result.append(refused(raw, [replace(each, row=each.row - start) for each in mine]))
        start = end
    return result


@operator
def decode(
    step_id: str, up: Stream[RawBatch], decoder: Decoder, contract: Contract, breaker: Breaker
) -> DecodeOut:
    """Decode Avro and check the contract.

    Every record is in exactly one of the two streams. Raises TooManyRejectsError, and
    whatever the decoder's schema look-up raises when its registry is away.
    """

    def shim(raws: list[RawBatch]) -> list[Batch | pl.DataFrame]:
        result = decode_batches(raws, decoder, contract)
        rejects = [item for item in result if isinstance(item, pl.DataFrame)]
        for frame in rejects:
            for stage, code, count in frame.group_by("stage", "code").len().iter_rows():
                metrics.REJECTS.labels(stage, code).inc(count)
        breaker.observe(sum(map(len, raws)), sum(frame.height for frame in rejects))
        return result

    both = op.flat_map_batch("decode", up, shim)
    sides = op.branch("good", both, lambda item: isinstance(item, Batch))
    return DecodeOut(sides.trues, sides.falses)  # type: ignore[arg-type] # branch does not narrow
