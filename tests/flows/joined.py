"""Payments with their customers as of then: what `read` makes of changes is what the join takes."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from deltalake import CommitProperties

from flows import settings as settings_
from flows.decoding import contract_of, decoder_of
from flows.parts import Parts
from flows.pipeline import read
from flows.rows import as_versions
from flows.streams import CUSTOMERS, ENRICHED, PAYMENTS, TERMINALS, Stream, all_tables
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.table import open_table
from operators.connectors.delta.writing import write
from operators.connectors.registry.schema_source import open_registry
from operators.records.batches import END_OF_INPUT, Progress, RawBatch
from operators.steps.joins import temporal_join
from ops.query import query
from tests.field.topic import payment
from tests.flows.changes import NOON, Record, customer
from tests.pages import blocks

GROUPS = 4


def raw(topic: str, records: list[Record]) -> RawBatch:
    """Return all there ever is of a topic of one partition."""
    count = len(records)
    last = int(NOON.timestamp() * 1000) + 60_000
    return RawBatch(
        Progress(topic, 0, 1, count - 1).at(END_OF_INPUT),
        np.arange(count),
        np.full(count, last),
        [key for key, _ in records],
        [value for _, value in records],
        [None] * count,
    )


def payments_have_their_customers_as_of_then(root: Path) -> None:
    """Join and ask as the page of changes does, and see that both find the same."""
    environ = {
        "MILLSTREAM_REDIS_URL": "redis://nowhere", "MILLSTREAM_DELTA_ROOT": "nowhere",
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere",
    }  # fmt: skip
    settings = settings_.load(environ)
    named: dict[str, Any] = {}
    (shown,) = blocks("docs/changes.md", "Joined with as of then", "python")
    exec(shown, named)
    assert named["ENRICHED"] == ENRICHED
    topics = {each.name: each.name for each in (PAYMENTS, CUSTOMERS, TERMINALS)}
    join, _ = ENRICHED.joins(topics, lateness=0)
    changes = [
        customer(1, 1, 0, segment="LOW"), customer(2, 2, 0, segment="MEDIUM"),
        customer(1, 3, 20, segment="HIGH"), customer(1, 4, 40, op="d"),
        # Kafka has it a minute after noon, and the row is there again since before that.
        (customer(1, 4, 40)[0], None), customer(1, 5, 45, segment="BACK"),
    ]  # fmt: skip
    asked = [(1, -5), (1, 0), (1, 19), (1, 20), (2, 39), (1, 40), (3, 50), (1, 50), (1, 65)]
    paid = [
        (
            b"card",
            payment(n, customer_id=f"customer-{c}", event_time=NOON + timedelta(seconds=s)),
        )
        for n, (c, s) in enumerate(asked)
    ]
    flow, found, taken = Dataflow("joined"), [], []

    def good(stream: Stream, records: list[Record]) -> Any:
        lookup = open_registry("", {})
        parts = Parts(decoder_of(stream, lookup), contract_of(stream, 10**12), None, None)
        own, batch = settings.of(stream), raw(stream.name, records)
        source = TestingSource([batch])
        records = read(flow, source, stream, parts, own, GROUPS, f"{stream.name}_").good
        taken.append([])
        op.output(f"{stream.name}_taken", records, TestingSink(taken[-1]))
        return records

    payments, customers = good(PAYMENTS.unlabelled, paid), good(CUSTOMERS, changes)
    states = op.map("states", customers, partial(as_versions, CUSTOMERS))
    joined = temporal_join(
        "join", payments, states, join, {"payments": 1, "customers": 1}, GROUPS
    )
    op.output("out", joined.rows, TestingSink(found))
    run_main(flow)
    rows = pl.concat(found).sort("payment_id")
    assert rows["customer_segment"].to_list() == [
        None, "LOW", "LOW", "HIGH", "MEDIUM", None, None, "BACK", "BACK"
    ]  # fmt: skip

    # The tables say the same, asked as the page does.
    stamps = {"flow_version": pl.lit("1"), "written_at": NOON}
    for name, batches in (("silver/payments", taken[0]), ("gold/customers", taken[1])):
        table = {each.name: each for each in all_tables()}[name]
        frame = pl.concat(batch.frame for batch in batches).with_columns(**stamps)
        frame = frame.with_columns(event_date=pl.col("event_time").dt.date())
        handle = open_table(str(root), table)
        columns = columns_of(handle)
        write(handle, table, frame, columns, CommitProperties())
    current, as_of = blocks("docs/changes.md", "What the table is", "sql")
    assert sorted(query(str(root), current).rows()) == [
        ("customer-1", "BE", "BACK"), ("customer-2", "BE", "MEDIUM")
    ]  # fmt: skip
    told = query(str(root), as_of).sort("payment_id")
    assert told.equals(rows.select("payment_id", segment="customer_segment"))
