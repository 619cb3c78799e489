"""Whole tables and topics, compared row by row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

import polars as pl
from deltalake import DeltaTable

from flows.flow_settings import FlowSettings
from flows.settings import Settings
from flows.streams import STREAMS, writers
from operators.connectors.delta.table import table_uri
from operators.connectors.kafka.client import read_to_end, wait_for_partitions
from operators.records.tables import Table

_NOT_COMPARED = "written_at"


@dataclass
class Difference:
    """How many rows were compared, and which are not the same."""

    rows: int = 0
    differences: int = 0
    examples: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, expected: Mapping[str, pl.DataFrame], actual: Mapping[str, pl.DataFrame]
    ) -> Self:
        """Compare what is expected, by name, with what there is."""
        made = cls()
        for name, rows in expected.items():
            made.add(name, rows, actual[name])
        return made

    def add(self, name: str, expected: pl.DataFrame, actual: pl.DataFrame) -> None:
        """Compare two frames as bags of rows."""
        self.rows += expected.height
        if expected.equals(actual):
            return
        key = expected.columns
        both = pl.concat(
            [expected.with_columns(_side=pl.lit(-1)), actual.with_columns(_side=pl.lit(1))]
        )
        odd = both.group_by(key).agg(pl.col("_side").sum()).filter(pl.col("_side") != 0)
        self.differences += int(odd["_side"].abs().sum())
        for row in odd.head(5).to_dicts():
            times = row.pop("_side")
            self.examples.append(f"{name}: {times:+d} {row}"[:400])


def _tables(flow: str) -> list[Table]:
    """Return the tables that a flow writes."""
    if flow == "chargebacks":
        return [table for table, writer in writers().values() if writer == flow]
    (stream,) = (each for each in STREAMS if each.name == flow)
    return stream.all_tables


def read_tables(
    settings: Settings, flow: str = "payments", *, but: Collection[str] = ()
) -> dict[str, pl.DataFrame]:
    """Return every table of the flow by name, its rows in an order of their own.

    `but` are those that are left out.
    """
    tables = (each for each in _tables(flow) if each.name not in but)
    return {each.name: read_table(settings, each) for each in tables}


def read_table(settings: FlowSettings, table: Table) -> pl.DataFrame:
    """Return a table, its rows in an order of their own."""
    rows = pl.scan_delta(DeltaTable(table_uri(settings.delta_root, table.name)))
    return _flat(rows.drop(_NOT_COMPARED).collect())


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows sorted, nested columns as text."""
    nested = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    texts = [
        pl.Series(
            name, [v if v is None else repr(v.to_list()) for v in frame[name]], pl.String()
        )
        for name in nested
    ]
    frame = frame.with_columns(*texts)
    return frame.sort(frame.columns, nulls_last=True)


def read_topic(settings: FlowSettings, topic: str) -> pl.DataFrame:
    """Return each message's key, value and headers, sorted."""
    partitions = wait_for_partitions(settings.kafka, topic, 10)
    messages = [
        (message.key(), message.value(), repr(message.headers()))
        for message in read_to_end(settings.kafka, topic, dict.fromkeys(partitions, 0))
    ]
    frame = pl.DataFrame(
        messages,
        {"key": pl.Binary(), "value": pl.Binary(), "headers": pl.String()},
        orient="row",
    )
    return frame.sort(frame.columns, nulls_last=True)
