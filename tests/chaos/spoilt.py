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


@dataclass(frozen=True)
class Spoilt:
    """Records in two halves; of the first some are spoilt, and no later one of it has their cards.

    So what is sent again between the halves comes in the order of its card.
    """

    good: tuple[pl.DataFrame, pl.DataFrame]
    bad: tuple[pl.DataFrame, pl.DataFrame]
    count: int


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
    return Spoilt((good[:half], good[half:]), (bad[:half], bad[half:]), len(chosen))


def _with(records: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Return records with these events in them, one for each, all written alike."""
    zeros = np.zeros(events.height, np.int8)
    newest = schemas.versions(PAYMENTS.record)[-1]
    value, header = encode_framed(PAYMENTS.record, events, zeros + np.int8(newest), zeros)
    return records.with_columns(value=value, header=header)
