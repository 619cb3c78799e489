"""Tables of payments of three currencies, many of them late, as the flow makes them."""

import dataclasses

import numpy as np
import polars as pl
from bytewax.testing import TestingSink, TestingSource, run_main

from flows.pipeline import build
from flows.streams import PAYMENTS
from operators.records.batches import END_OF_INPUT, Progress, RawBatch
from operators.records.data_quality import DataQuality
from operators.records.stretches import Part
from ops.simulate import Params, Troubles, simulate
from ops.simulate.encode import SCHEMA_HEADER
from tests.flows.test_payments import SETTINGS, parts

PARTITIONS = 3
FIRST_DAY = 1_772_000_000_000
CURRENCIES = (b"EUR", b"EUR", b"EUR", b"JPY", b"KWD")


def made() -> dict[str, pl.DataFrame]:
    """Return the flow's tables, of a simulation with many late payments, batch by batch in turns.

    Of three currencies, with minor units of a hundredth, of one and of a thousandth.
    """
    troubles = dataclasses.replace(Troubles(), late=0.05, out_of_order=0.1)
    sent = simulate(
        Params(
            payments=6_000,
            customers=70,
            terminals=400,
            partitions=PARTITIONS,
            troubles=troubles,
        )
    ).records
    batches = []
    for partition in range(PARTITIONS):
        mine = sent.filter(pl.col("partition") == partition)
        for first in range(0, mine.height, 700):
            part = mine.slice(first, 700)
            # As Avro has a text: its length twice, and its bytes.
            values = [
                value and value.replace(b"\x06EUR", b"\x06" + CURRENCIES[at % 5])
                for at, value in enumerate(part["value"])
            ]
            headers = [None if h is None else [(SCHEMA_HEADER, h)] for h in part["header"]]
            n = part.height
            batches.append(
                RawBatch(
                    Progress("payments", partition, PARTITIONS, first + n - 1),
                    np.arange(first, first + n),
                    (FIRST_DAY + np.arange(first, first + n) // 40 * 3_600 * 1_000),
                    part["key"].to_list(),
                    values,
                    headers,
                )
            )
    batches.sort(key=lambda b: b.progress.offset)
    last = {b.progress.partition: b.progress for b in batches}
    batches += [RawBatch(progress.at(END_OF_INPUT)) for progress in last.values()]
    found: list = []
    settings = SETTINGS.model_copy(update={"allowed_lateness": np.timedelta64(60, "s").item()})
    run_main(
        build(
            PAYMENTS,
            TestingSource(batches),
            TestingSink(found),
            TestingSink([]),
            parts(),
            settings,
        )
    )
    tables = {
        table.name: pl.concat(
            [f for name, f in found if name == table.name and isinstance(f, pl.DataFrame)]
            or [pl.DataFrame(schema=table.columns)]
        )
        for table in PAYMENTS.all_tables
    }
    # As its writer makes the rows.
    quality = DataQuality(lambda _: 0, lambda _: ())
    for name, item in found:
        if isinstance(item, Part):
            quality.take(item)
        elif name == PAYMENTS.data_quality.name:
            quality.observe(item)
    return tables | {PAYMENTS.data_quality.name: quality.settle()}
