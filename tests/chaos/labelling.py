"""Labels of a simulation's payments: frauds, genuine ones, those that are revoked, and nonsense."""

import random
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from flows.streams.labels import LABELS
from ops.simulate import Simulation
from ops.simulate.encode import encode_framed, partitions_of

PARTITIONS: Final = 2

_AHEAD: Final = 2_400
"""By as many payments as this a label that is in time is ahead of those that were sent.

So it is however slow the flow is, and counts from its own time on. From when a late one counts is
how far the flow had come, and no other run has to have come as far.
"""


class Labelling:
    """Makes the records of labels, those of payments that were just sent and some others."""

    def __init__(self, luck: random.Random, made: Simulation, *, late: bool) -> None:
        self._luck, self._number = luck, 0
        self._events = made.events.select(
            "payment_id", "event_time", "card_id", "customer_id", "terminal_id", "amount_minor",
            "currency", "is_fraud",
        )  # fmt: skip
        good = pl.when(place="silver").then("payment_id")
        self._sent = made.truth.select(good)["payment_id"]
        times = self._events["event_time"]
        self._first, span = times[0], times[-1] - times[0]
        self._ahead = -timedelta(hours=2) if late else span * (_AHEAD / times.len())
        self._until = 0 if late else 24
        self._newest = self._first
        self._known: list[dict[str, Any]] = []

    def before(self) -> pl.DataFrame:
        """Return the records of labels that are there before any payment.

        They became known over days, unless labels are to be late also in the first of the
        payments, and come out of order by hours, so that some are late in their partitions.
        """
        rows: list[dict[str, Any]] = []
        for event in self._events.sample(250, seed=self._luck.randrange(2**31)).to_dicts():
            known = self._first + timedelta(hours=self._luck.uniform(-72, self._until))
            rows.append(self._label(event | {"payment_id": f"before-{len(rows)}"}, known))
        rows.sort(key=lambda row: row["event_time"] + timedelta(hours=self._luck.uniform(0, 3)))
        return self._records(rows)

    def of(self, first: int, last: int) -> pl.DataFrame:
        """Return the records of labels that come behind the payments of these records."""
        ids = self._sent[first:last].drop_nulls()
        events = self._events.filter(pl.col("payment_id").is_in(ids.implode())).to_dicts()
        if events:
            self._newest = max(self._newest, *(each["event_time"] for each in events))
        known = self._newest + self._ahead
        rows = [self._label(each, known) for each in events if self._luck.random() < 0.2]
        for _ in range(2):
            if self._known and self._luck.random() < 0.5:
                before = self._luck.choice(self._known)
                rows.append(self._label(before, known) | {"verdict": self._other(before)})
        self._known += rows
        return self._records(rows)

    @staticmethod
    def _other(label: dict[str, Any]) -> str:
        return "GENUINE" if label["verdict"] == "FRAUD" else "FRAUD"

    def _label(self, of: dict[str, Any], known: Any) -> dict[str, Any]:
        self._number += 1
        luck = self._luck
        fraud = of.get("is_fraud") or luck.random() < 0.4
        columns = {name: of.get(name) for name in LABELS.fields}
        return columns | {
            "label_id": f"label-{self._number}",
            "event_time": known - timedelta(minutes=luck.uniform(0, 30)),
            "verdict": "FRAUD" if fraud else "GENUINE",
            "source": "analyst",
            "terminal_id": of["terminal_id"] if luck.random() < 0.9 else None,
        }

    def _records(self, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """Return rows as records, some of them twice and some that are no labels."""
        luck = self._luck
        rows = rows + [row for row in rows if luck.random() < 0.05]
        frame = pl.DataFrame(rows, schema=dict(LABELS.fields))
        zeros = np.zeros(frame.height, np.int8)
        value, header = encode_framed(LABELS.record, frame, zeros + np.int8(1), zeros)
        nonsense = pl.Series([luck.random() < 0.03 for _ in rows], dtype=pl.Boolean())
        return pl.DataFrame(
            {
                "partition": partitions_of(frame["payment_id"], PARTITIONS),
                "key": frame["payment_id"].cast(pl.Binary()),
                "value": pl.select(
                    pl.when(nonsense).then(pl.lit(b"nothing")).otherwise(value)
                ).to_series(),
                "header": header,
            }
        )
