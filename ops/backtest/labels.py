"""Labels: which events turned out to be frauds, and on which day that was known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from flows.streams import PAYMENTS, Stream
from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.grouping import differs
from operators.columns.hashing import hash_strings
from ops.simulate.payments.replay import LABEL

DAY: Final = 86_400_000_000
"""A day in µs."""

DELAY: Final = 7
"""After how many days a label is known where nothing says when, as in the handbook's protocol."""


class LabelsError(ValueError):
    """A file has no labels that can be used."""


def no_labels(stream: Stream) -> str:
    """Return what to do about there being none."""
    return (
        f"no labels, so only volumes: --labels FILE with {stream.id} and {LABEL} says which "
        f"{stream.name} are frauds"
        + (", as do labels and the chargebacks flow" if stream.name == PAYMENTS.name else "")
    )


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of events by the hash of their ids, in ascending order, shape (n,) each.

    `known` is the day since 1970 on which a label came, or -1: `DELAY` days after its event.
    Events without a label are good. `source` says in words where the labels are from.
    """

    source: str
    ids: UInt64s
    fraud: Bools
    known: Int64s

    @classmethod
    def of(cls, source: str, ids: pl.Series, fraud: Bools, known: Int64s) -> "Labels":
        """Make labels; an id that is there several times is a fraud if any of them is."""
        hashes = hash_strings(ids)
        # Of several the fraud that was known first.
        order = np.lexsort((known, ~fraud, hashes))
        hashes, fraud, known = hashes[order], fraud[order], known[order]
        first = differs(hashes)
        return cls(source, hashes[first], fraud[first], known[first])

    def look_up(self, ids: pl.Series, days: Int64s) -> tuple[Bools, Int64s, Bools]:
        """Return which events are frauds, when that was known, and which have a label."""
        hashes = hash_strings(ids)
        if not len(self.ids):
            nothing = np.zeros(len(hashes), np.bool_)
            return nothing, days + DELAY, nothing
        at = np.minimum(np.searchsorted(self.ids, hashes), len(self.ids) - 1)
        there = self.ids[at] == hashes
        known = self.known[at]
        return self.fraud[at] & there, np.where(known < 0, days + DELAY, known), there


def labels_of_file(path: Path, stream: Stream) -> Labels:
    """Read labels: the stream's id and `is_fraud`, as `millstream simulate --truth` writes them.

    Raises LabelsError for a file of another form and OSError for one that cannot be read.
    """
    try:
        names = pl.read_parquet_schema(path)
    except pl.exceptions.ComputeError:
        raise LabelsError(f"--labels: {path} is not a parquet file") from None
    if missing := [name for name in (stream.id, LABEL) if name not in names]:
        raise LabelsError(
            f"--labels: {path} has no column {' and no '.join(missing)}"
            + ("; millstream simulate --truth writes such a file" if stream is PAYMENTS else "")
        )
    found = pl.read_parquet(path, columns=[stream.id, LABEL]).drop_nulls()
    if not (found[LABEL].dtype.is_integer() or found[LABEL].dtype == pl.Boolean):
        raise LabelsError(
            f"--labels: {LABEL} in {path} is {found[LABEL].dtype}, not true or false"
        )
    return labels_of_events(str(path), found, stream)


def labels_of_events(source: str, events: pl.DataFrame, stream: Stream) -> Labels:
    """Return labels of rows with the stream's id and `is_fraud`."""
    ids = events[stream.id].cast(pl.String)
    fraud = events[LABEL].cast(pl.Boolean).to_numpy()
    return Labels.of(source, ids, fraud, np.full(len(ids), -1, np.int64))
