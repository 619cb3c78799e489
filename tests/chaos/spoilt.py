"""Payments of which some are spoilt: records as they should be, and as they come."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

import schemas
from flows.streams import PAYMENTS
from ops.simulate import Troubles
from ops.simulate.encode import encode_framed
from tests.chaos.world import make

_SPOILS: Final = {
    "currency": pl.col("currency").str.to_lowercase(),
    "country": pl.format(" {}", pl.col("country").str.to_lowercase()),
    "amount_minor": -pl.col("amount_minor"),
}

MENDS: Final = (
    "currency = upper(currency)",
    "country = upper(trim(country))",
    "amount_minor = abs(amount_minor)",
)
"""What makes each of them good again, whatever it needs of these."""

NEWEST: Final = timedelta(hours=11)
"""The spoilt ones are that far at the most behind the newest of the first half."""

_SPOILT: Final = 60
_CUT: Final = 2


@dataclass(frozen=True)
class Spoilt:
    """Records in two halves; of the first some are spoilt, and no later one of it has their cards.

    So what is sent again between the halves comes in the order of its card.
    """

    good: tuple[pl.DataFrame, pl.DataFrame]
    bad: tuple[pl.DataFrame, pl.DataFrame]
    count: int
    cut: list[int]
    """The rows of those that end too soon, which decode no more."""

    def place_of(self, row: int) -> tuple[int, int]:
        """Return partition and offset that a record of the first half has in a topic of its own."""
        partitions = self.bad[0]["partition"]
        return partitions[row], int((partitions[:row] == partitions[row]).sum())


def spoil(seed: int, records: int) -> Spoilt:
    """Return simulated payments, some of them spoilt."""
    made = make(PAYMENTS, seed, records, troubles=Troubles.none())
    half = made.records.height // 2
    events = made.events.select(*PAYMENTS.fields).with_row_index("row")
    first = events[:half]
    last = first.group_by("card_id").agg(pl.col("row").max())["row"]
    near = first["event_time"] > first["event_time"][-1] - NEWEST
    rows = sorted({*last} & {*first.filter(near)["row"]})
    chosen = random.Random(seed).sample(rows, min(_SPOILT, len(rows)))
    kind = np.full(events.height, -1)
    kind[chosen] = np.arange(len(chosen)) % len(_SPOILS)
    kinds = pl.Series(kind)
    broken = events.with_columns(
        pl.when(kinds == place).then(spoilt).otherwise(name).alias(name)
        for place, (name, spoilt) in enumerate(_SPOILS.items())
    )
    good, bad = (_with(made.records, each.drop("row")) for each in (events, broken))
    cut = sorted(chosen[:_CUT])
    # Nothing tells which letters are lacking.
    short = pl.when(pl.int_range(pl.len()).is_in(cut)).then(pl.col("value").bin.slice(0, 20))
    bad = bad.with_columns(short.otherwise("value").alias("value"))
    return Spoilt((good[:half], good[half:]), (bad[:half], bad[half:]), len(chosen), cut)


def _with(records: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Return records with these events in them, one for each, all written alike."""
    zeros = np.zeros(events.height, np.int8)
    newest = schemas.versions(PAYMENTS.record)[-1]
    value, header = encode_framed(PAYMENTS.record, events, zeros + np.int8(newest), zeros)
    return records.with_columns(value=value, header=header)
