"""Recorded payments as the past: the files of some months, read as one."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl

from flows.streams import PAYMENTS
from operators.contracts import load_contract
from ops.backtest.known import known_late
from ops.backtest.labels import labels_of_events
from ops.backtest.past import MOST, Past
from ops.simulate.payments.replay import LABEL, read_payments


def past_of_files(paths: Sequence[Path]) -> Past:
    """Return the payments of files as one partition has them, in the order of their times.

    See `read_payments`. The files may be given in any order, each being of a time of its own. What
    the contract refuses or dedup would know already is left out, as a flow would. Raises OSError
    and ValueError as that does, and ValueError for files that are not one history.
    """
    payments = _together(paths)
    stream, total = PAYMENTS, payments.height
    checked = load_contract(stream.record).check(
        payments.select(*stream.fields), payments["event_time"].dt.timestamp("ms")
    )
    payments = payments.with_columns(checked.frame).filter(checked.good)
    refused, total = total - payments.height, payments.height
    hour = pl.col("event_time").dt.truncate("1h").alias("hour")
    first = payments.select(pl.struct(stream.id, hour).is_first_distinct()).to_series()
    payments = payments.filter(first)
    notes = [
        f"{count:,} {stream.name} {what}"
        for count, what in (
            (refused, "left out, as the contract refuses them"),
            (total - payments.height, "left out, as their ids came before"),
        )
        if count
    ]
    source, labels = ", ".join(map(str, paths)), None
    if LABEL in payments.columns:
        labels = labels_of_events(f"{LABEL} of {source}", payments, stream)
    payments = payments.select(
        pl.lit(paths[0].name).alias("source_topic"),
        pl.lit(0, pl.Int32()).alias("source_partition"),
        pl.int_range(pl.len(), dtype=pl.Int64()).alias("source_offset"),
        pl.col("event_time").alias("kafka_timestamp"),
        *stream.fields,
        *(
            name if name in payments.columns else pl.lit(None, kind).alias(name)
            for name, kind in stream.noted.items()
        ),
    )
    frames = ((0, rows) for rows in payments.iter_slices(MOST))
    known = partial(known_late, stream, payments)
    return Past(source, payments.height, frames, known, labels=labels, notes=notes)


def _together(paths: Sequence[Path]) -> pl.DataFrame:
    """Return the payments of all files, one after the other."""
    found = {path: read_payments(path, labelled=False) for path in paths}
    if len(found) < len(paths):
        raise ValueError("--input: a file is given twice")
    labelled = {path: LABEL in rows.columns for path, rows in found.items()}
    if len({*labelled.values()}) > 1:
        lacking = ", ".join(str(path) for path, has in labelled.items() if not has)
        raise ValueError(f"--input: {lacking} has no {LABEL}, which the others have")
    there = [(path, rows) for path, rows in found.items() if rows.height]
    there.sort(key=lambda each: (each[1]["event_time"][0], each[1]["event_time"][-1]))
    for (earlier, rows), (later, more) in pairwise(there):
        last, first = rows["event_time"][-1], more["event_time"][0]
        if first < last:
            raise ValueError(
                f"--input: {later} begins at {first:%Y-%m-%d %H:%M:%S}, before {earlier} ends "
                f"({last:%Y-%m-%d %H:%M:%S}): give files that do not overlap"
            )
    return pl.concat([rows for _, rows in there] or list(found.values()))
