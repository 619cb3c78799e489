"""Judging rejects by today's schemas and contract: what would become of each if it came again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from flows import settings as settings_
from flows.enforced.topic import Enforced
from flows.privacy import guard_of, guarded
from flows.streams import Stream
from operators.avro import Lookup
from operators.columns.durations import micros
from operators.contracts.contract import Checked
from operators.records.batches import Batch, Progress, RawBatch
from operators.steps.decode import decode_batches
from ops.dlq.quarantine import PLACE
from ops.dlq.records import headers_of
from ops.dlq.streams import contract_of, decoder_of, future_bound_of

_HOUR: Final = 3_600_000_000

Judge = Callable[[pl.DataFrame], pl.DataFrame]
"""Maps rejects to a row for each, of `JUDGED`."""

JUDGED: Final[dict[str, pl.DataType]] = {
    "source_topic": pl.String(), "source_partition": pl.Int32(), "source_offset": pl.Int64(),
    "stage": pl.String(), "code": pl.String(), "event_id": pl.String(),
    "event_hour": pl.Int64(),
}  # fmt: skip
"""A reject's coordinates and why it is refused today; of a good one the event that it is."""


def judge_of(stream: Stream, lookup: Lookup) -> Judge:
    """Return what judges a stream's rejects as its flow would today."""
    decoder = decoder_of(stream, lookup)
    guard = guard_of(settings_.privacy_settings(), stream)
    check = guarded(contract_of(stream, micros(future_bound_of(stream))), guard)

    def contract(frame: pl.DataFrame, timestamps: pl.Series) -> Checked:
        found = check(frame, timestamps)
        # It is judged and not read: no flow has to end.
        return found._replace(refusals=[replace(each, stops=False) for each in found.refusals])

    def judge(rows: pl.DataFrame) -> pl.DataFrame:
        judged = [pl.DataFrame(schema=JUDGED)]
        for _, mine in rows.group_by("source_topic"):
            parts = mine.sort(PLACE).partition_by("source_partition", maintain_order=True)
            for item in decode_batches(list(map(raw_batch, parts)), decoder, contract):
                judged.append(
                    _good(item.frame, stream) if isinstance(item, Batch) else _bad(item)
                )
        return pl.concat(judged)

    return judge


def raw_batch(rows: pl.DataFrame, partitions: int = 1) -> RawBatch:
    """Return rejects of a partition, with their records, as the batch that they would come as."""
    last = rows.row(-1, named=True)
    # By its first time, though it will have another: what was too far ahead of that stays so.
    times = rows["kafka_timestamp"].fill_null(datetime.now(UTC)).to_physical() // 1000
    records: list[dict[str, Any]] = rows.select("headers").to_dicts()
    return RawBatch(
        Progress(
            last["source_topic"], last["source_partition"], partitions, last["source_offset"]
        ),
        rows["source_offset"].to_numpy(),
        times.to_numpy().astype(np.int64),
        rows["key"].to_list(),
        rows["value"].to_list(),
        [headers_of(each) or None for each in records],
    )


def _good(frame: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    # Two changes of a row are no repetition, whatever they are of, nor are records without an id.
    event = pl.concat_str([pl.col(name).cast(pl.String) for name in PLACE], separator="/")
    hour = pl.lit(0, pl.Int64)
    if isinstance(stream, Enforced):
        if stream.tells_apart:
            event = pl.col(stream.told_by).cast(pl.String).fill_null(event)
    elif stream.id:
        hour = pl.col("event_time").to_physical() // _HOUR
        if stream.changes is None:
            event = pl.col(stream.id)
    return frame.select(
        *PLACE,
        nothing.alias("stage"),
        nothing.alias("code"),
        event.alias("event_id"),
        hour.alias("event_hour"),
    )


def _bad(frame: pl.DataFrame) -> pl.DataFrame:
    nothing = [pl.lit(None, JUDGED[name]).alias(name) for name in ("event_id", "event_hour")]
    return frame.select(*PLACE, "stage", "code", *nothing)
