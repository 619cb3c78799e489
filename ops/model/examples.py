"""Examples: what a model is trained on, worked out as a flow works it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from flows.streams import Stream
from operators.columns.arrays import Bools, Floats, UInt64s
from operators.columns.hashing import hash_strings
from operators.columns.times import in_micros
from operators.model import ModelSpec, matrix
from operators.model.model import Matrix
from operators.rules.rules import RuleSet
from ops.backtest.events import Collected, Events
from ops.backtest.figures import mean_of, ranking, weeks
from ops.backtest.labels import DAY, Labels
from ops.backtest.past import Past
from ops.backtest.run import Side, worked_out
from ops.backtest.taken import Taken


@dataclass(frozen=True)
class Examples:
    """Events of some days in the order of time, with a model's inputs; shape (n,) each.

    `inputs` are (n, inputs), `ids` hashes of the events' ids.
    """

    inputs: Matrix
    ids: UInt64s
    events: Events
    first: int
    last: int

    @property
    def fraud(self) -> Bools:
        """Which are frauds."""
        return self.events.fraud

    def scores(self, score: Floats, threshold: float) -> dict[str, Any]:
        """Return how well scores rank the events, by the protocol of backtests."""
        days = range(self.first, self.last + 1)
        scored = Taken.by(replace(self.events, model=score), threshold=threshold).judged
        found: dict[str, Any] = dict(ranking(scored, days)) | {
            "frauds": int(np.count_nonzero(scored.events.fraud))
        }
        by_week = weeks(scored, days)
        return found | ({"weekly_mean": mean_of(by_week)} if by_week else {})


def examples(
    past: Past,
    stream: Stream,
    spec: ModelSpec,
    labels: Labels,
    bound: int,
    spans: Sequence[tuple[int, int]],
    told: Callable[[int], None] = lambda _: None,
) -> list[Examples]:
    """Return the events of each span of days (the first and the last), by one run over the past."""
    side = Side(stream, RuleSet([], stream.columns, stream.id, stream.key))
    expressions = spec.expressions
    collected = [Collected(stream, labels) for _ in spans]
    inputs: list[list[Matrix]] = [[] for _ in spans]
    kept: list[list[pl.DataFrame]] = [[] for _ in spans]
    done = 0
    for rows, (frame,) in worked_out(past, [side], labels, bound):
        for at, (first, last) in enumerate(spans):
            wanted = pl.Series(collected[at].add(rows, first * DAY, (last + 1) * DAY))
            if wanted.any():
                some = frame.filter(wanted)
                inputs[at].append(matrix(some, expressions))
                kept[at].append(some.select(stream.id, "event_time"))
        done += rows.height
        told(done)
    found = []
    for at, (first, last) in enumerate(spans):
        if not kept[at]:
            raise ValueError(
                f"there are no {stream.name} of {np.datetime64(first, 'D')} to "
                f"{np.datetime64(last, 'D')}"
            )
        rows = pl.concat(kept[at])
        order = np.argsort(in_micros(rows["event_time"]), kind="stable")
        events, _ = collected[at].events()
        ids = hash_strings(rows[stream.id].cast(pl.String))[order]
        found.append(Examples(np.concatenate(inputs[at])[order], ids, events, first, last))
    return found
