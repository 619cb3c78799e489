"""Payments of a simulated world, as the records of a topic."""

from typing import Final

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from operators.columns.arrays import Int64s
from operators.records.tables import TIME
from ops.simulate.payments.draws import Draws, draw_payments
from ops.simulate.payments.params import Params
from ops.simulate.payments.world import (
    CASH,
    CATEGORIES,
    CHANNELS,
    COUNTRIES,
    World,
    make_world,
)
from ops.simulate.simulation import Simulation, deliver
from ops.simulate.troubles import SECOND_US, Breach

BREACHES: Final = (
    Breach({"amount_minor": -1_250}, "amount_range"),
    Breach({"amount_minor": 10**12 + 1}, "amount_range"),
    Breach({"country": "??"}, "country_format"),
    Breach({"currency": "euro"}, "currency_format"),
    Breach({"merchant_category": "shop"}, "category_format"),
    Breach({"latitude": 123.4}, "coordinate_range"),
    Breach({"payment_id": ""}, "id_length"),
    # In the year 2112: a watermark that believed it would close every window at once.
    Breach({"event_time": 4_500_000_000 * SECOND_US}, "event_time_range"),
)


def simulate(params: Params) -> Simulation:
    """Simulate payments and their way to Kafka.

    Equal parameters give equal bytes with the same numpy. Frauds and troubles draw from
    generators of their own, so other troubles leave the payments as they are.
    Raises ValueError if no customer has a terminal within the radius.
    """
    seeds = np.random.SeedSequence(params.seed).spawn(4)
    for_world, for_payments, for_columns, for_troubles = map(np.random.default_rng, seeds)
    world = make_world(params, for_world)
    draws = draw_payments(world, params, for_payments)
    payments = _frame(world, draws, params, for_columns)
    second = for_columns.random(len(payments)) < params.version_2_share
    version = np.where(second, 2, 1).astype(np.int8)
    return deliver(
        PAYMENTS, payments, version, params, BREACHES, "terminal_id", for_columns, for_troubles
    )


def _frame(
    world: World, draws: Draws, params: Params, rng: np.random.Generator
) -> pl.DataFrame:
    """Return the payments with every field of the schema, and their labels."""
    n = len(draws)
    terminal = draws.terminal
    channel = world.channel[terminal]
    ecom = channel == CHANNELS.index("ECOM")
    remote = ecom | (channel == CHANNELS.index("MOTO"))
    card = draws.customer * params.cards_per_customer + draws.card
    # A thief has a device of his own.
    device = draws.customer * 2 + (draws.scenario == 3)
    tag = np.random.SeedSequence(params.seed).generate_state(1)[0]
    start = int(params.start.timestamp()) * SECOND_US
    names = {
        "card_id": _names("card-", world.customers * params.cards_per_customer, card),
        "customer_id": _names("cust-", world.customers, draws.customer),
        "terminal_id": _names("term-", len(world.channel), terminal),
        "device_id": _names("dev-", world.customers * 2, device),
        "merchant_category": pl.Series([*CATEGORIES, CASH]).gather(world.category[terminal]),
        "country": pl.Series(COUNTRIES).gather(world.country[terminal]),
        "channel": pl.Series(CHANNELS).gather(channel),
    }
    number = pl.int_range(n, dtype=pl.Int64, eager=True)
    return pl.DataFrame(
        {
            "payment_id": f"pay-{tag:08x}-" + number.cast(pl.String()).str.zfill(10),
            "event_time": pl.Series(start + draws.time).cast(TIME),
            "amount_minor": draws.amount,
            "latitude": world.latitude[terminal],
            "longitude": world.longitude[terminal],
            "recurring": ecom & (rng.random(n) < 0.2),
            "remote": remote,
            "ecom": ecom,
            "is_fraud": draws.scenario > 0,
            "scenario": draws.scenario,
            **names,
        }
    ).select(
        "payment_id", "event_time", "card_id", "customer_id", "terminal_id", "amount_minor",
        pl.lit("EUR").alias("currency"), "merchant_category", "country",
        pl.when(~pl.col("remote")).then("latitude").alias("latitude"),
        pl.when(~pl.col("remote")).then("longitude").alias("longitude"),
        "channel", pl.when("ecom").then("device_id").alias("device_id"), "recurring",
        "is_fraud", "scenario",
    )  # fmt: skip


def _names(prefix: str, count: int, index: Int64s) -> pl.Series:
    """Return ``prefix-000123`` for each index below `count`."""
    return pl.Series([f"{prefix}{i:06d}" for i in range(count)]).gather(index)
