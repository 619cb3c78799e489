"""Decisions: those on a batch, counted."""

from collections import Counter
from itertools import product
from typing import Final

import polars as pl

from operators import metrics
from operators.columns.frames import filtered
from operators.decisions.decider import ALLOW_LIST, BLOCK_LIST, OF_MODEL, RULES, Decider
from operators.decisions.words import PLAIN

_MAY_BE: Final = (
    ("approve", ALLOW_LIST),
    ("block", BLOCK_LIST),
    *product(("review", "block"), (RULES, OF_MODEL)),
)


def expect() -> None:
    """Have counters at 0 of what may be decided."""
    for labels in _MAY_BE:
        metrics.DECISIONS.labels(*labels)


def decided(decider: Decider, events: pl.DataFrame, alerts: pl.DataFrame) -> pl.DataFrame:
    """Return the decisions on events and their alerts as `Decider.decide` does.

    Those that are no plain approvals are counted.
    """
    decisions = decider.decide(events, alerts)
    if not decisions.height:
        return decisions
    told = decisions[["decision", "decided_by"]]
    if decider.every:
        told = filtered(told, decisions["sentence"] != PLAIN)
    counts = Counter(told.iter_rows())
    for labels, count in counts.items():
        metrics.DECISIONS.labels(*labels).inc(count)
    if failed := int(decisions["without_model"].sum()):
        metrics.WITHOUT_MODEL.inc(failed)
    return decisions
