"""Status: whether what a rule finds counts, and for which keys."""

from typing import Final, Literal

import numpy as np
import polars as pl

from operators.columns.frames import filtered
from operators.columns.hashing import hash_columns

Status = Literal["draft", "shadow", "live", "paused"]

EVALUATED: Final = ("shadow", "live")
"""What flows evaluate; a draft is for checks and backtests, and a paused rule for neither."""

LIVE: Final = "live"
DRAFT: Final = "draft"

ROLLOUT: Final = r"^(100|[1-9]?[0-9](\.[0-9]{1,2})?)%$"
"""A share of keys such as 25% or 0.5%."""

_FOR: Final = " for "
_PARTS: Final = 10_000


def standing(status: Status, rollout: str | None) -> str:
    """Return a rule's status in a line: itself, or `live for 25%`."""
    if status != LIVE or rollout is None or parts(rollout) == _PARTS:
        return status
    return f"{LIVE}{_FOR}{rollout}"


def said(status: Status, rollout: str | None, owner: str | None = None) -> str:
    """Return in brackets what status a rule has, if it is not just live, and whose it is."""
    stands = standing(status, rollout)
    told = [stands] if stands != LIVE or owner else []
    told += [owner] if owner else []
    return f" ({', '.join(told)})" if told else ""


def statuses(stands: str, rule: str, keys: pl.Series) -> pl.Series:
    """Return the status of each of a rule's alerts, by `standing` and the keys they are about.

    A rule that is live for a share of keys is in shadow for all others. Which those are is a hash
    of the rule's id and the key alone: the same in every process, flow, replay and version of the
    rule, and those of a smaller share are among those of a larger one.
    """
    status, _, rollout = stands.partition(_FOR)
    if not rollout:
        return pl.Series([status], dtype=pl.String).new_from_index(0, len(keys))
    named = pl.Series([rule], dtype=pl.String).new_from_index(0, len(keys))
    hashes = hash_columns(
        pl.DataFrame([named.alias("rule"), keys.alias("key")]), ["rule", "key"]
    )
    among = (hashes >> np.uint64(32)) % np.uint64(_PARTS) < parts(rollout)
    return pl.Series(np.where(among, LIVE, "shadow"), dtype=pl.String)


def live(alerts: pl.DataFrame) -> pl.DataFrame:
    """Return those of some alerts whose rules were live for them."""
    among = alerts["rule_status"] == LIVE
    return alerts if among.all() else filtered(alerts, among)


def parts(rollout: str) -> int:
    """Return how many of 10,000 parts of the keys a rollout is for."""
    return round(float(rollout.removesuffix("%")) * _PARTS / 100)
