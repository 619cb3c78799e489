"""Events that rules were run over, as arrays: what figures need of each, and no more."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TypeAlias

import numpy as np
import polars as pl

from flows.streams import Stream
from operators.columns.arrays import Bools, Floats, Indices, Int64s, UInt64s
from operators.columns.hashing import hash_strings
from operators.columns.times import in_micros
from ops.backtest.labels import DAY, Labels
from ops.backtest.metrics import WEEK


@dataclass(frozen=True)
class Events:
    """Events by event time; shape (n,) each.

    `day` is that since 1970 (UTC), `card` the hash of the stream's key, `customer` that of whoever
    is behind it, `amount` in minor units of the currency `currencies[currency]`. `known` are
    those whose card was known as compromised: of which a fraud came to be known in the week before
    the event's block of seven days, or in this before that day. `model` are a model's scores, NaN
    where there is none, or None without one.
    """

    day: Int64s
    card: UInt64s
    customer: UInt64s
    amount: Int64s
    currency: Int64s
    fraud: Bools
    known: Bools
    currencies: list[str]
    model: Floats | None = None

    def of(self, rows: Bools) -> "Events":
        """Return some of them."""
        taken = {
            each.name: getattr(self, each.name)[rows]
            for each in fields(self)
            if each.name not in ("currencies", "model")
        }
        taken["model"] = None if self.model is None else self.model[rows]
        return Events(**taken, currencies=self.currencies)

    @cached_property
    def judged(self) -> "Events":
        """Those that are judged: whose card was not known."""
        return self.of(~self.known)


@dataclass(frozen=True, slots=True)
class Hits:
    """The events that a rule alerts on, as ascending places in `Events`, with its scores."""

    rows: Int64s
    scores: Floats

    @classmethod
    def none(cls) -> "Hits":
        """Return those of a rule that never hit."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float64))


Made: TypeAlias = tuple[Int64s, Int64s]
"""The decisions on n events, as places in `decisions.LEVELS`, and what they are by, in
`decisions.BY`; shape (n,) each."""


@dataclass
class Collected:
    """Events as they come, in batches, and the alerts on them by side and rule."""

    stream: Stream
    labels: Labels | None
    unlabelled: int = 0
    first: int = 2**62
    last: int = -(2**62)
    """The days of the first event and of the last, wanted or not."""
    begin: int = -(2**62)
    """The first day that is wanted."""
    _columns: dict[str, list[Int64s]] = field(default_factory=dict)
    _scores: list[Floats] = field(default_factory=list)
    _frauds: list[tuple[UInt64s, Int64s]] = field(default_factory=list)
    _alerts: dict[tuple[int, str], list[Hits]] = field(default_factory=dict)
    _currencies: dict[str, int] = field(default_factory=dict)
    _decisions: dict[int, list[Made]] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame, begin: int, end: int) -> Bools:
        """Take rows; return which are wanted, as their time is in [begin, end) in µs."""
        times = in_micros(rows["event_time"])
        wanted: Bools = (times >= begin) & (times < end)
        self.begin = begin // DAY
        days = times // DAY
        self.first = min(self.first, int(days.min()))
        self.last = max(self.last, int(days.max()))
        cards = hash_strings(rows[self.stream.key].cast(pl.String))
        fraud = np.zeros(len(times), np.bool_)
        if self.labels is not None:
            ids = rows[self.stream.id].cast(pl.String)
            fraud, known, there = self.labels.look_up(ids, days)
            self._frauds.append((cards[fraud], known[fraud]))
            self.unlabelled += int(np.count_nonzero(wanted & ~there))
        columns = {"time": times, "card": cards.view(np.int64), "fraud": fraud.astype(np.int64)}
        for name, values in (columns | self._more(rows)).items():
            self._columns.setdefault(name, []).append(values[wanted])
        return wanted

    def _more(self, rows: pl.DataFrame) -> dict[str, Int64s]:
        """Return who is behind events, and the money."""
        there = self.stream.fields
        who = rows["customer_id" if "customer_id" in there else self.stream.key]
        amount = currency = np.zeros(rows.height, np.int64)
        if self.stream.amount is not None:
            amount = rows[self.stream.amount].fill_null(0).to_numpy()
        if self.stream.amount is not None and "currency" in there:
            for each in rows["currency"].unique():
                self._currencies.setdefault(each, len(self._currencies))
            codes = rows["currency"].replace_strict(self._currencies, return_dtype=pl.Int64)
            currency = codes.to_numpy()
        elif self.stream.amount is not None:
            # One that has no name.
            self._currencies = {"": 0}
        customer = hash_strings(who.cast(pl.String)).view(np.int64)
        return {"customer": customer, "amount": amount, "currency": currency}

    def add_scores(self, scores: pl.Series) -> None:
        """Take a model's scores of the wanted rows that were added last."""
        self._scores.append(scores.fill_null(np.nan).to_numpy())

    def add_decisions(self, side: int, made: Made) -> None:
        """Take the decisions of a side on the wanted rows that were added last."""
        self._decisions.setdefault(side, []).append(made)

    def decisions(self) -> dict[int, Made]:
        """Return the decisions on all wanted events by time, by side."""
        order = self._order
        return {
            side: (
                np.concatenate([level for level, _ in made])[order],
                np.concatenate([by for _, by in made])[order],
            )
            for side, made in self._decisions.items()
        }

    @property
    def _order(self) -> Indices:
        return np.argsort(np.concatenate(self._columns["time"]), kind="stable")

    def add_alerts(self, side: int, wanted: pl.DataFrame, alerts: pl.DataFrame) -> None:
        """Take the alerts of a side on the wanted rows that were added last, by offset."""
        offsets = wanted["source_offset"].to_numpy()
        base = sum(map(len, self._columns["time"])) - wanted.height
        for (rule,), mine in alerts.partition_by("rule_id", as_dict=True).items():
            places = np.searchsorted(offsets, mine["source_offset"].to_numpy())
            scores = np.nan_to_num(mine["score"].fill_null(0).to_numpy())
            self._alerts.setdefault((side, str(rule)), []).append(Hits(places + base, scores))

    def events(self) -> tuple[Events, dict[tuple[int, str], Hits]]:
        """Return all wanted events by time, and the hits by side and rule."""
        found = {name: np.concatenate(each) for name, each in self._columns.items()}
        order = self._order
        found = {name: values[order] for name, values in found.items()}
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        hits = {}
        for key, each in self._alerts.items():
            rows = place[np.concatenate([one.rows for one in each])]
            by_place = np.argsort(rows)
            scores = np.concatenate([one.scores for one in each])
            hits[key] = Hits(rows[by_place], scores[by_place])
        day, card = found["time"] // DAY, found["card"].view(np.uint64)
        events = Events(
            day=day,
            card=card,
            customer=found["customer"].view(np.uint64),
            amount=found["amount"],
            currency=found["currency"],
            fraud=found["fraud"].astype(np.bool_),
            known=self._known(card, day),
            currencies=list(self._currencies),
            model=np.concatenate(self._scores)[order] if self._scores else None,
        )
        return events, hits

    def _known(self, cards: UInt64s, days: Int64s) -> Bools:
        """Tell of which events the card was known: in the week before their block, or since.

        Blocks are of seven days from the first day on. This is the handbook's test set: frauds of
        the week of training, which is as long ago as labels take, and those that became known from
        then on. A card whose fraud is older has been replaced.
        """
        if not (self._frauds and len(cards)):
            return np.zeros(len(cards), np.bool_)
        bad = np.concatenate([each for each, _ in self._frauds])
        since = np.concatenate([known for _, known in self._frauds])
        if not len(bad):
            return np.zeros(len(cards), np.bool_)
        first = max(self.begin, self.first)
        block = first + (days - first) // WEEK * WEEK
        codes, place = np.unique(bad, return_inverse=True)
        at = np.minimum(np.searchsorted(codes, cards), len(codes) - 1)
        # Cards and days as one number; of those up to a day the last.
        base = int(min(since.min(), days.min())) - WEEK - 1
        span = int(max(since.max(), days.max())) - base + 1
        told = np.sort(place * span + (since - base))
        last = np.searchsorted(told, at * span + (days - base), "left") - 1
        oldest = at * span + (block - WEEK - base)
        known: Bools = (
            (codes[at] == cards) & (last >= 0) & (told[np.maximum(last, 0)] >= oldest)
        )
        return known
