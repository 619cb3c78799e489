"""Scoring: what the flows that judge payments have in common, from raw records to alerts."""

from dataclasses import dataclass
from functools import partial

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream

import schemas
from flows import settings as settings_
from flows.registry import open_registry
from flows.settings import Settings
from flows.starting import recovery_directory
from flows.tables import SILVER_COLUMNS
from flows.wiring import micros
from operators.avro import Decoder
from operators.batches import Batch, RawBatch
from operators.contracts import load_contract
from operators.rejects import Breaker
from operators.rules import RuleSet, load_rules
from operators.steps.decode import Contract, decode
from operators.steps.dedup import FirstSeen, dedup
from operators.steps.features import features
from operators.steps.rules import detect


@dataclass(frozen=True)
class Parts:
    """What the steps work with."""

    decoder: Decoder
    contract: Contract
    seen: FirstSeen
    rules: RuleSet


@dataclass(frozen=True)
class Scored:
    """Streams of `score`: payments with features, and frames of the tables' columns."""

    payments: Stream[Batch]
    duplicates: Stream[pl.DataFrame]
    rejects: Stream[pl.DataFrame]
    alerts: Stream[pl.DataFrame]


def load() -> tuple[Settings, RuleSet]:
    """Read the settings, the contract and the rules that they name.

    Raises SettingsError, ContractError and RuleError.
    """
    settings = settings_.load(recovery=recovery_directory())
    load_contract("payment")
    return settings, RuleSet(
        load_rules(settings.rules), SILVER_COLUMNS, "payment_id", "card_id"
    )


def connect(settings: Settings, rules: RuleSet, seen: FirstSeen) -> Parts:
    """Return the parts for real records; raises as `open_registry`."""
    lookup = open_registry(settings)
    contract = partial(
        load_contract("payment").check, future_bound_us=micros(settings.future_bound)
    )
    return Parts(Decoder(schemas.latest("payment"), lookup), contract, seen, rules)


def score(raw: Stream[RawBatch], parts: Parts, settings: Settings) -> Scored:
    """Decode, deduplicate, add the features, evaluate the rules.

    The same records give the same alerts in every flow, with the same ids.
    """
    breaker = Breaker(settings.max_reject_ratio)
    decoded = decode("decode", raw, parts.decoder, parts.contract, breaker)
    unique = dedup("dedup", decoded.oks, parts.seen, "payment_id")
    idle_timeout = settings.idle_timeout.total_seconds()
    payments = features(
        "features", unique.firsts, micros(settings.out_of_orderness), idle_timeout
    )
    detected = detect("rules", payments, parts.rules)
    rejects = op.merge("rejects", decoded.rejects, detected.rejects)
    return Scored(payments, unique.duplicates, rejects, detected.alerts)
