"""The past that rules are run over: as silver has it at a version; `recorded` has that of files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import polars as pl
from deltalake import DeltaTable

from flows.streams import Stream
from operators.connectors.delta.commits import made_at
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table_history import TableHistory
from operators.errors import KnownError
from ops.backtest.known import known_of_silver
from ops.backtest.labels import Labels

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
    what features from labels are made of, by partition, of labels that are the truth. `by` is when
    the events were as they are here, None if that is now.
    """

    source: str
    total: int
    frames: Iterator[tuple[int, pl.DataFrame]]
    known: Callable[[Labels | None], list[pl.DataFrame]]
    partitions: int = 1
    labels: Labels | None = None
    notes: list[str] = field(default_factory=list)
    by: datetime | None = None


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
    table, by = DeltaTable(uri), None
    newest = table.version()
    if version is None:
        version = newest
    elif not 0 <= version <= newest:
        raise NoVersionError(f"--version {version}: {name} has versions 0 to {newest}")
    else:
        by = made_at(table, version)
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
    known = partial(known_of_silver, root, stream, version, by)
    return Past(source, sum(counts.values()), frames, known, len(counts), by=by)
