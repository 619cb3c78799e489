"""What a payment must be like, beyond what its schema says; checked by columns."""

import re
from functools import cache
from typing import NamedTuple

import polars as pl

from operators.rejects import Refusal

FUTURE_BOUND_US = 5 * 60 * 1_000_000

_EARLIEST_US = 946_684_800_000_000  # 2000-01-01 UTC
_LATEST_US = 4_102_444_800_000_000  # 2100-01-01 UTC
_TIMESTAMP = "__kafka_timestamp_ms"

# ISO 4217, ISO 18245 and ISO 3166-1 alpha-2: their form, not their lists.
_FORMATS = (
    ("currency_format", "currency", "three capitals A to Z", re.compile("[A-Z]{3}")),
    ("category_format", "merchant_category", "four digits", re.compile("[0-9]{4}")),
    ("country_format", "country", "two capitals A to Z", re.compile("[A-Z]{2}")),
)
# What has been found to have the format; the patterns allow for 29,000 values at most.
_fine: dict[str, set[str]] = {name: set() for _, name, _, _ in _FORMATS}


class Check(NamedTuple):
    """One rule: a stable code, the fields it looks at, itself in words and on columns.

    `holds` is true, false, or null for a field that must not be null and is.
    """

    code: str
    fields: str
    rule: str
    holds: pl.Expr


def check_payments(
    frame: pl.DataFrame,
    kafka_timestamp_ms: pl.Series,
    future_bound_us: int = FUTURE_BOUND_US,
) -> tuple[pl.Series, list[Refusal]]:
    """Check each payment of `frame` (schema payment, any version) against the contract.

    `kafka_timestamp_ms` has the record's broker or producer time in ms since 1970, Int64, a
    row for each payment; negative or null where it is unknown. An event may be at most
    `future_bound_us` µs ahead of it.

    Returns a Boolean for each row, true if it is good, and for each bad row one Refusal of
    stage "contract": its code is that of the first rule broken, its message names them all.
    """
    checks = [*_checks(future_bound_us), *_format_checks(frame)]
    return _verdict(frame, kafka_timestamp_ms, checks)


def check_chargebacks(
    frame: pl.DataFrame,
    kafka_timestamp_ms: pl.Series,
    future_bound_us: int = FUTURE_BOUND_US,
) -> tuple[pl.Series, list[Refusal]]:
    """Check each chargeback of `frame` (schema chargeback); as `check_payments` else."""
    ids = ("chargeback_id", "payment_id", "card_id")
    checks = [
        *(Check("id_length", i, "1 to 128 bytes", _bytes(i).is_between(1, 128)) for i in ids),
        Check(
            "reason_length",
            "reason_code",
            "1 to 16 bytes",
            _bytes("reason_code").is_between(1, 16),
        ),
        _amount_check(),
        _time_check(future_bound_us),
        *_format_checks(frame),
    ]
    return _verdict(frame, kafka_timestamp_ms, checks)


def _verdict(
    frame: pl.DataFrame, kafka_timestamp_ms: pl.Series, checks: list[Check]
) -> tuple[pl.Series, list[Refusal]]:
    timed = frame.hstack([kafka_timestamp_ms.cast(pl.Int64).alias(_TIMESTAMP)])
    holds = pl.all_horizontal(check.holds for check in checks)
    # Here and below in this thread: a batch is too small to hand over to another.
    good = timed.select_seq(good=holds.fill_null(value=False)).to_series()
    if good.all():
        return good, []
    bad = (~good).arg_true()
    results = timed[bad].select_seq(
        check.holds.fill_null(value=False).alias(str(i)) for i, check in enumerate(checks)
    )
    refusals = [
        _refusal(row, [check for check, held in zip(checks, held_all, strict=True) if not held])
        for row, held_all in zip(bad.to_list(), results.rows(), strict=True)
    ]
    return good, refusals


def _refusal(row: int, broken: list[Check]) -> Refusal:
    message = "; ".join(f"{check.fields}: {check.rule}" for check in broken)
    return Refusal(row, "contract", broken[0].code, message)


def _amount_check() -> Check:
    amount = pl.col("amount_minor")
    return Check("amount_range", "amount_minor", "0 to 10**12", amount.is_between(0, 10**12))


def _time_check(future_bound_us: int) -> Check:
    event_time = pl.col("event_time").to_physical()
    # Clipped before it is scaled: a producer may send any 64-bit number.
    kafka_us = pl.col(_TIMESTAMP).clip(upper_bound=_LATEST_US // 1000) * 1000
    known = (kafka_us >= 0).fill_null(value=False)
    latest = pl.when(known).then(kafka_us + future_bound_us).otherwise(_LATEST_US)
    holds = event_time.is_between(_EARLIEST_US, pl.min_horizontal(latest, _LATEST_US))
    rule = "from 2000 to 2100, and not far past the record's Kafka time"
    return Check("event_time_range", "event_time", rule, holds)


@cache
def _checks(future_bound_us: int) -> list[Check]:
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    pair = latitude.is_null() == longitude.is_null()
    return [
        *(
            Check("id_length", name, "1 to 128 bytes", _bytes(name).is_between(1, 128))
            for name in ("payment_id", "card_id", "terminal_id", "customer_id")
        ),
        _optional("id_length", "device_id", "at most 128 bytes", _bytes("device_id") <= 128),
        _amount_check(),
        # NaN is between no bounds: Polars sorts it above every number.
        _optional("coordinate_range", "latitude", "-90 to 90", latitude.is_between(-90, 90)),
        _optional(
            "coordinate_range", "longitude", "-180 to 180", longitude.is_between(-180, 180)
        ),
        Check("coordinate_pair", "latitude, longitude", "both or neither null", pair),
        _time_check(future_bound_us),
    ]


def _format_checks(frame: pl.DataFrame) -> list[Check]:
    """Return the checks of codes that some row fails: columns of few values, so tried on those.

    A pattern on every row costs as much as all other checks together.
    """
    checks = []
    formats = [each for each in _FORMATS if each[1] in frame.columns]
    values = frame.select_seq(pl.col(name).unique().implode() for _, name, _, _ in formats)
    for code, name, rule, pattern in formats:
        new = set(values[name][0].to_list()) - _fine[name]
        bad = [value for value in new if value is None or not pattern.fullmatch(value)]
        _fine[name] |= new.difference(bad)
        if bad:
            known = pl.Series(bad, dtype=pl.String).implode()
            checks.append(Check(code, name, rule, ~pl.col(name).is_in(known)))
    return checks


def _bytes(name: str) -> pl.Expr:
    return pl.col(name).str.len_bytes()


def _optional(code: str, name: str, rule: str, holds: pl.Expr) -> Check:
    return Check(code, name, f"{rule}, or null", holds.fill_null(value=True))
