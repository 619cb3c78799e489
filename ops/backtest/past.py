"""The past that rules are run over: silver at a version, or a file of recorded payments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable

from flows.streams import PAYMENTS, Stream
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table_history import TableHistory
from operators.contracts import load_contract
from operators.errors import KnownError
from ops.backtest.known import known_late, known_of_silver
from ops.backtest.labels import Labels, labels_of_events
from ops.simulate.payments.replay import LABEL, read_payments

MOST: Final = 100_000
"""How many rows are worked on at once."""


class NoPastError(KnownError):
    """There is nothing to run rules over; the message says what to do."""


class NoVersionError(ValueError):
    """A table has no such version."""


@dataclass(frozen=True)
class Past:
    """Events of a stream in the order of their partitions, as features are worked out of them.

    `source` says in words what they are, `total` how many; `frames` are runs of a partition each.
    `labels` are those that came with them, and `notes` what else is to be known. `known` gives
    what features from labels are made of, by partition, of labels that are the truth.
    """

    source: str
    total: int
    frames: Iterator[tuple[int, pl.DataFrame]]
    known: Callable[[Labels | None], list[pl.DataFrame]]
    partitions: int = 1
    labels: Labels | None = None
    notes: list[str] = field(default_factory=list)


def past_of_silver(root: str, stream: Stream, topic: str, version: int | None) -> Past:
    """Return the rows that silver has of a topic, with the watermarks they were judged by.

    So what was late then is late now, and duplicates, which it does not have, count no more than
    they did. Raises NoPastError where there are none, and NoVersionError.
    """
    name = stream.silver.name
    uri = table_uri(root, name)
    if not DeltaTable.is_deltatable(uri):
        raise NoPastError(
            f"there is no table {uri}: run the flow of {stream.name}, or name the tables' folder "
            "with --root"
        )
    newest = DeltaTable(uri).version()
    if version is None:
        version = newest
    elif not 0 <= version <= newest:
        raise NoVersionError(f"--version {version}: {name} has versions 0 to {newest}")
    try:
        history = TableHistory(root, name, topic, stream.past | stream.listing, version)
        counts = history.begin(dict.fromkeys(history.partitions(), (-1, 2**62)))
    except StorageUnavailableError as error:
        if version == newest:
            raise
        raise NoPastError(
            f"{name} cannot be read at version {version}; name a later one, up to {newest}, if "
            f"that is not there any more: {error}"
        ) from error
    if not counts:
        raise NoPastError(
            f"{name} at version {version} has no rows of topic {topic}: set the topic as for "
            "the flow that wrote it" + (", or name a later version" if version < newest else "")
        )
    frames = history.in_turns(counts, MOST)
    source = f"{name} at version {version}"
    known = partial(known_of_silver, root, stream)
    return Past(source, sum(counts.values()), frames, known, len(counts))


def past_of_file(path: Path) -> Past:
    """Return the payments of a file as one partition has them, in the order of their times.

    See `read_payments`. What the contract refuses or dedup would know already is left out, as a
    flow would. Raises OSError and ValueError as that does.
    """
    payments = read_payments(path, labelled=False)
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
    labels = None
    if LABEL in payments.columns:
        labels = labels_of_events(f"{LABEL} of {path}", payments, stream)
    payments = payments.select(
        pl.lit(path.name).alias("source_topic"),
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
    return Past(str(path), payments.height, frames, known, labels=labels, notes=notes)
