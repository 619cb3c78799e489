"""Counting: the writer of a table of data quality, which makes an epoch's rows at its end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.definitions import history
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query, read
from operators.connectors.delta.table import reaching
from operators.connectors.delta.writer import Owner, Writer
from operators.records.batches import Progress
from operators.records.data_quality import COUNTED, DataQuality
from operators.records.stretches import KINDS, UNTIMED, Part
from operators.records.tables import Ledger, Table

_BEHIND: Final = (
    "SELECT max(first_offset + records + missing) FROM rows WHERE source_partition = "
)


def counting(root: str, ledger: Ledger, quality: Table, topic: str) -> dict[str, Any]:
    """Return, by its name, how the writer of a stream's table is made, as `DeltaSink` wants it.

    Of the topics that its flow reads, `topic` is the one that is counted.
    """
    return {quality.name: partial(_CountingWriter, root, ledger, topic)}


class _CountingWriter(Writer):
    """Takes parts of a stream's records; what of these has ended are the table's rows."""

    def __init__(
        self,
        root: str,
        ledger: Ledger,
        topic: str,
        sink: Owner,
        table: Table,
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__(sink, table, state)
        self._topic = topic
        known = _Known(root, ledger, topic, self._handle)
        self._quality = DataQuality(known.begin, known.past, state and state["counted"])

    def write_batch(self, values: list[Any]) -> None:
        super().write_batch([each for each in values if isinstance(each, Progress)])
        for each in values:
            if not isinstance(each, Progress):
                self._quality.take(each)
            elif each.topic == self._topic:
                self._quality.observe(each)

    def settle(self) -> None:
        super().write_batch([self._quality.settle()])

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "counted": self._quality.dump()}


@dataclass(frozen=True)
class _Known:
    """What tables know of records whose state is lost, or was never there."""

    root: str
    ledger: Ledger
    topic: str
    handle: DeltaTable

    def begin(self, partition: int) -> int:
        """Return from where on records are counted that no row of the table has."""
        with reaching(self.handle.table_uri):
            found = query(self.handle, _BEHIND + str(partition)).item()
            if found is not None:
                return int(found)
            told = (history(self.handle) or {}).get(COUNTED, ())
        before = [each.of(self.topic).get(partition, -1) for each in told[-1:]]
        return max(before, default=-1) + 1

    def past(self, begun: Mapping[int, tuple[int, int]]) -> Iterator[Part]:
        """Return what the ledger has of partitions from an offset on, and before another."""
        asked = [(p, first, end) for p, (first, end) in begun.items() if first < end]
        if not asked:
            return
        where = " OR ".join(
            f"source_partition = {p} AND source_offset >= {first} AND source_offset < {end}"
            for p, first, end in asked
        )
        yield from ledger_parts(self.ledger, self._open, where)

    def _open(self, name: str) -> DeltaTable | None:
        uri = table_uri(self.root, name)
        with reaching(uri):
            # Another worker may be about to make it.
            return DeltaTable(uri) if DeltaTable.is_deltatable(uri) else None


def ledger_parts(
    ledger: Ledger, handle: Callable[[str], DeltaTable | None], where: str = ""
) -> Iterator[Part]:
    """Return what the tables of a ledger have, as far as the SQL `where` holds.

    `handle` opens a table by its name, None if it is not there. Raises StorageUnavailableError.
    """
    found: tuple[Sequence[Table | None], ...] = (
        ledger.read, [ledger.good], [ledger.repeated], [ledger.refused]
    )  # fmt: skip
    place = ["source_partition", "source_offset"]
    kinds = KINDS if ledger.timed else UNTIMED
    for (kind, needed), tables in zip(kinds.items(), found, strict=True):
        frames = []
        for table in tables:
            opened = None if table is None else handle(table.name)
            if opened is not None:
                with reaching(opened.table_uri):
                    frames.append(read(opened, [*place, *needed], where))
        if frames:
            yield from Part.of(kind, pl.concat(frames).sort(place), timed=ledger.timed)
