"""From parameters to the records of a topic, and the truth about each."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ops.simulate import troubles as trouble
from ops.simulate.encode import PAYMENT_SCHEMA, encode_framed, frame, partitions_of
from ops.simulate.params import Params
from ops.simulate.payments import Draws, draw_payments
from ops.simulate.world import CASH, CATEGORIES, CHANNELS, COUNTRIES, Ints, World, make_world

EPOCH_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Simulation:
    """The records of a topic, in the order in which they are to be produced.

    - `payments`: what happened, one row each by event time: the columns of PAYMENT_SCHEMA,
      `is_fraud` (Boolean) and `scenario` (Int8; 0 none, else the handbook's 1 to 3)
    - `records`: what is produced: `partition` (Int32), `key` and `value` (Binary; a null value
      is a tombstone) and `header` (Binary; the value of ``__value_schema_id``, null for none)
    - `truth`: a row for each record, in the same order: `partition`, `sequence` (Int64, its
      place in the partition from 0: the offset, if the topic was empty), `payment_id` and
      `event_time` (null where they cannot be read), `kind` ("ok" or a trouble's name),
      `place` ("silver", "duplicates" or "quarantine"), `stage` and `code` of the expected
      reject (null for none), `is_fraud`, `scenario`
    """

    payments: pl.DataFrame
    records: pl.DataFrame
    truth: pl.DataFrame


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
    n = len(payments)
    version = np.where(for_columns.random(n) < params.version_2_share, 2, 1).astype(np.int8)
    shares = np.cumsum([1 - params.guid_share - params.header_share, params.guid_share])
    framing = np.searchsorted(shares, for_columns.random(n), side="right").astype(np.int8)

    plan = trouble.plan(n, params.troubles, for_troubles)
    framing = trouble.framing_for(plan.kind, framing)
    sent, breach = trouble.break_contract(payments.select(*PAYMENT_SCHEMA), plan.kind)
    values, headers = encode_framed(sent, version, framing)
    sizes = np.array([len(frame(1, how)[0]) for how in range(3)])
    values = trouble.damage(values, sizes[framing], plan.kind, for_troubles)

    row = np.concatenate([np.arange(n), plan.repeated])
    arrival = payments["event_time"].to_physical().to_numpy() + plan.delay
    arrival = np.concatenate([arrival, arrival[plan.repeated] + plan.repeat_delay])
    # Stable: payments of one µs keep their order, so equal parameters give equal topics.
    order = np.argsort(arrival, kind="stable")
    row, again = row[order], order >= n
    partition = partitions_of(payments["card_id"], params.partitions)[row]
    records = pl.DataFrame(
        {
            "partition": partition,
            "key": payments["card_id"].cast(pl.Binary()).gather(row),
            "value": values.gather(row),
            "header": headers.gather(row),
        }
    )
    truth = _truth(payments, sent, plan.kind, breach, row, again, partition)
    return Simulation(payments, records, truth)


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
    start = int(params.start.timestamp()) * EPOCH_US
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
            "event_time": pl.Series(start + draws.time).cast(PAYMENT_SCHEMA["event_time"]),
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


def _names(prefix: str, count: int, index: Ints) -> pl.Series:
    """Return ``prefix-000123`` for each index below `count`."""
    return pl.Series([f"{prefix}{i:06d}" for i in range(count)]).gather(index)


def _truth(
    payments: pl.DataFrame,
    sent: pl.DataFrame,
    kind: npt.NDArray[np.int8],
    breach: npt.NDArray[np.int8],
    row: Ints,
    again: npt.NDArray[np.bool_],
    partition: npt.NDArray[np.int32],
) -> pl.DataFrame:
    """Return the truth about the records; see `Simulation`."""
    codes = [trouble.DECODE_CODES.get(name) for name in trouble.KINDS]
    codes += [one.code for one in trouble.BREACHES]
    code = np.where(breach > 0, len(trouble.KINDS) + breach - 1, kind)[row]
    shown = np.where(again, trouble.NUMBER["duplicate"], kind[row])
    decoded = np.array([name not in trouble.DECODE_CODES for name in trouble.KINDS])[kind[row]]
    readable = pl.Series(decoded)
    truth = pl.DataFrame(
        {
            "partition": partition,
            "sequence": sequence(partition),
            "payment_id": sent["payment_id"].gather(row),
            "event_time": sent["event_time"].gather(row),
            "kind": pl.Series(trouble.KINDS).gather(shown),
            "code": pl.Series(codes, dtype=pl.String()).gather(code),
            "is_fraud": payments["is_fraud"].gather(row),
            "scenario": payments["scenario"].gather(row),
            "again": again,
            "readable": readable,
        }
    )
    return truth.select(
        "partition", "sequence",
        pl.when("readable").then("payment_id").alias("payment_id"),
        pl.when("readable").then("event_time").alias("event_time"),
        "kind",
        pl.when("again").then(pl.lit("duplicates"))
        .when(pl.col("code").is_not_null()).then(pl.lit("quarantine"))
        .otherwise(pl.lit("silver")).alias("place"),
        pl.when(pl.col("code").is_not_null())
        .then(pl.when("readable").then(pl.lit("contract")).otherwise(pl.lit("decode")))
        .alias("stage"),
        "code", "is_fraud", "scenario",
    )  # fmt: skip


def sequence(partition: npt.NDArray[np.int32]) -> Ints:
    """Return each record's place in its partition, from 0, shape (n,)."""
    places = np.empty(len(partition), np.int64)
    for one in np.unique(partition):
        here = np.flatnonzero(partition == one)
        places[here] = np.arange(len(here))
    return places
