"""Marks: what is said of events beside the rules, by lists and a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Floats
from operators.decisions.columns import LISTED, MODEL
from operators.decisions.thresholds import At


@dataclass(frozen=True, slots=True)
class Marks:
    """What is said of n events beside the rules, shape (n,) each; None if of none anything."""

    blocked: Bools | None = None
    allowed: Bools | None = None
    overriding: Bools | None = None
    model: Floats | None = None
    says: Bools | None = None
    failed: Bools | None = None


def marks_of(events: pl.DataFrame, thresholds: At) -> Marks:
    """Return what lists and the model say of events; `thresholds` tells the model's."""
    found: dict[str, Any] = {}
    if LISTED in events.columns and (events[LISTED] != "").any():
        text = " " + events[LISTED].fill_null("")
        found = {
            name: text.str.contains(f" {kind}:", literal=True).to_numpy()
            for name, kind in (
                ("blocked", "block"), ("allowed", "allow"), ("overriding", "allow!")
            )
        }  # fmt: skip
        if not found["blocked"].any():
            # What is allowed and nothing else is approved plainly, if not for a rule.
            del found["blocked"]
    if MODEL in events.columns and events.height:
        score = events[MODEL].fill_null(np.nan).to_numpy()
        # Also what a model may not say: beyond 0 to 1, or not a number.
        ok = (score >= 0) & (score <= 1)
        least = (thresholds(f"model_{name}", events) for name in ("review", "block"))
        says = ok & (score >= np.minimum(*least))
        found["model"] = np.where(ok, score, np.nan)
        if says.any():
            found["says"] = says
        if not ok.all():
            found["failed"] = ~ok
    return Marks(**found)
