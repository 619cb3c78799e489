"""Decode: raw records to columns, what can't be decoded or breaks the contract to rejects."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Final, Protocol

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.avro.decode import Decoded
from operators.columns.frames import taken
from operators.contracts.contract import Checked
from operators.records.batches import Batch, Headers, RawBatch
from operators.records.breaker import Breaker
from operators.records.raw import coordinates, refused
from operators.records.rejects import BrokenContractError, Refusal

_LOG: Final = logging.getLogger("millstream")

Contract = Callable[[pl.DataFrame, pl.Series], Checked]
"""Checks (decoded rows, their Kafka timestamps in ms)."""


class Decodes(Protocol):
    """Decodes batches, as `Decoder` does; `by_columns` if their values as one column help."""

    by_columns: bool

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None],
        column: pl.Series | None = None,
    ) -> Decoded:
        """Decode a batch."""


@dataclass(frozen=True)
class DecodeOut:
    """Streams of `decode`: batches of good records, and frames of `REJECT_COLUMNS`."""

    oks: Stream[Batch]
    rejects: Stream[pl.DataFrame]


def decode_batches(
    raws: list[RawBatch], decoder: Decodes, contract: Contract
) -> list[Batch | pl.DataFrame]:
    """Return a batch for each raw batch, and a frame of rejects if there are any.

    Raises BrokenContractError for a record that breaks a check of severity stop.
    """
    # One call each for all partitions that this activation brings.
    decoded = decoder.decode(
        list(chain.from_iterable(raw.values for raw in raws)),
        list(chain.from_iterable(raw.headers for raw in raws)),
        pl.concat(raw.columns["value"] for raw in raws) if decoder.by_columns else None,
    )
    stamps = np.concatenate([raw.timestamps for raw in raws])[decoded.rows]
    checked = contract(decoded.frame, pl.Series(stamps))
    for code, count in checked.warned.items():
        metrics.WARNED.labels(raws[0].progress.topic, code).inc(count)
    for (field, kind), count in checked.repaired.items():
        metrics.REPAIRED.labels(raws[0].progress.topic, field, kind).inc(count)
    for drift, records, first in decoded.drifted:
        metrics.DRIFTED.labels(raws[0].progress.topic, drift.outcome).inc(records)
        if first:
            _LOG.warning("topic %s: %s", raws[0].progress.topic, drift)
    broken = checked.refusals
    decoded = replace(decoded, frame=checked.frame)
    frame, rows = decoded.in_order(checked.good if broken else None)
    places = pl.DataFrame(coordinates(raws))
    if len(rows) < places.height:
        places = taken(places, rows)
    frame = places.hstack(frame.get_columns())

    cuts = np.searchsorted(rows, np.cumsum([0, *map(len, raws)]))
    result: list[Batch | pl.DataFrame] = [
        Batch(raw.progress, frame.slice(low, high - low))
        for raw, (low, high) in zip(raws, pairwise(cuts), strict=True)
    ]
    refusals = [
        *decoded.refusals,
        *(replace(each, row=int(decoded.rows[each.row])) for each in broken),
    ]
    if refusals:
        _stop(raws, refusals)
        refusals.sort(key=lambda refusal: refusal.row)
        result.append(refused(raws, refusals))
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
    refused: Counter[int] = Counter()
    for frame in rejects:
        refused.update(frame["source_partition"].to_list())
    for raw in raws:
        topic, partition = raw.progress.topic, raw.progress.partition
        for line in breaker.observe(topic, partition, len(raw), refused.pop(partition, 0)):
            _LOG.warning("%s", line)
            metrics.PARTITION_PAUSED.labels(topic, partition).set(breaker.paused(partition))


def decode_observed(
    raws: list[RawBatch], decoder: Decodes, contract: Contract, breaker: Breaker
) -> list[Batch | pl.DataFrame]:
    """Return what `decode_batches` does, counted, and heard of by the breaker."""
    result = decode_batches(raws, decoder, contract)
    rejects = [item for item in result if isinstance(item, pl.DataFrame)]
    for frame in rejects:
        for reason, count in Counter(frame[["stage", "code"]].iter_rows()).items():
            metrics.REJECTS.labels(*reason).inc(count)
    _observe(breaker, raws, rejects)
    return result


@operator
def decode(
    step_id: str, up: Stream[RawBatch], decoder: Decodes, contract: Contract, breaker: Breaker
) -> DecodeOut:
    """Decode and check the contract; the breaker hears of each partition how much is refused.

    Every record is in exactly one of the two streams. Raises TooManyRejectsError,
    BrokenContractError, and whatever the decoder's schema look-up raises when its registry is away.
    """

    def shim(raws: list[RawBatch]) -> list[Batch | pl.DataFrame]:
        return decode_observed(raws, decoder, contract, breaker)

    both = op.flat_map_batch("decode", up, shim)
    sides = op.branch("good", both, lambda item: isinstance(item, Batch))
    return DecodeOut(sides.trues, sides.falses)  # type: ignore[arg-type] # branch does not narrow
