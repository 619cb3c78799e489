"""Running rules over the past: features and rules are the flows' own code, batch by batch."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from flows.streams import Stream
from operators.columns.frames import filtered
from operators.decisions.thresholds import Thresholds
from operators.features import WholeFeatures
from operators.rules.rules import RuleSet
from operators.rules.status import DRAFT, LIVE, live
from ops.backtest.decisions import Deciding, Decisions
from ops.backtest.events import Collected, Events, Hits
from ops.backtest.labels import Labels
from ops.backtest.past import Past
from ops.labels_there import give


@dataclass(frozen=True)
class Side:
    """Rules, and the stream with the features that they may use.

    Candidates count whatever their status is; of `live` rules what they are live for. Of those with
    `drafts` these count as if they were live. Decisions, if the stream makes any, are by
    `thresholds`.
    """

    stream: Stream
    rules: RuleSet
    live: bool = False
    drafts: bool = False
    thresholds: Thresholds | None = None

    @property
    def deciding(self) -> Deciding | None:
        """What makes its decisions."""
        if self.thresholds is None:
            return None
        return Deciding(self.thresholds, self.stream.id, self.stream.key, self.counted)

    @property
    def counted(self) -> list[str]:
        """The rules that stop something were these the live ones: those live, or all if none is."""
        acting = (LIVE, DRAFT) if self.drafts else (LIVE,)
        found = [each.id for each in self.rules.rules if each.status in acting]
        return found or [each.id for each in self.rules.rules]

    def covers(self, other: "Side") -> bool:
        """Tell whether it has all features of another, each defined alike."""
        own = self.stream.features.definitions
        theirs = other.stream.features.definitions
        return all(own.get(name) == text for name, text in theirs.items())


@dataclass(frozen=True)
class Outcome:
    """What came of it: the events, and by side the hits of each rule and how often each failed.

    `decisions` are those of the sides that make any. `unlabelled` counts the events without a
    label; `first` and `last` are the days since 1970 of
    all the past.
    """

    events: Events
    hits: list[dict[str, Hits]]
    failures: list[Counter[str]]
    decisions: dict[int, Decisions]
    unlabelled: int
    first: int
    last: int


Made: TypeAlias = tuple[pl.DataFrame, dict[int, pl.DataFrame]]
"""A partition's rows as they came, and with features, by side of `_Features.source`."""


class _Features:
    """The features of sides, worked out once for all that define them alike."""

    def __init__(self, sides: Sequence[Side], bound: int, partitions: int) -> None:
        # Those with the most come first: who has fewer may be covered by them.
        most = sorted(
            range(len(sides)), key=lambda at: -len(sides[at].stream.features.definitions)
        )
        self.source = [next(at for at in most if sides[at].covers(side)) for side in sides]
        """By side, the side whose features it has."""
        self._all: dict[int, WholeFeatures | None] = {}
        for at in self.source:
            stream = sides[at].stream
            made = WholeFeatures(stream.features, bound, partitions, stream.featured)
            self._all.setdefault(at, made if stream.features else None)
        # What is held of each partition for features by another key: not by all sides as long.
        self._held: dict[int, deque[pl.DataFrame]] = defaultdict(deque)
        self._made: dict[tuple[int, int], deque[pl.DataFrame]] = defaultdict(deque)

    def know(self, past: Past, labels: Labels | None) -> None:
        """Take all labels, before the first event."""
        wholes = [each for each in self._all.values() if each is not None and each.reads_labels]
        known = past.known(labels) if wholes else []
        for whole in wholes:
            give(known, whole)

    def advance(self, partition: int, rows: pl.DataFrame) -> list[Made]:
        """Take a partition's next rows; return those of which all sides know all now."""
        self._held[partition].append(rows)
        for at, whole in self._all.items():
            found = [(partition, rows)] if whole is None else whole.advance(partition, rows)
            for number, made in found:
                self._made[at, number].append(made)
        return self._known()

    def end(self) -> list[Made]:
        """Return the rows that were held: there are no more."""
        for at, whole in self._all.items():
            for number, made in [] if whole is None else whole.end():
                self._made[at, number].append(made)
        return self._known()

    def _known(self) -> list[Made]:
        found = []
        for partition, held in self._held.items():
            while held and all(self._made[at, partition] for at in self._all):
                made = {at: self._made[at, partition].popleft() for at in self._all}
                found.append((held.popleft(), made))
        return found


def worked_out(
    past: Past, sides: Sequence[Side], labels: Labels | None, bound: int
) -> Iterator[tuple[pl.DataFrame, list[pl.DataFrame]]]:
    """Yield the past in its order, as it came and with the features of each side.

    Features are worked out from its first event on, by watermarks `bound` µs behind where it has
    none.
    """
    features = _Features(sides, bound, past.partitions)
    features.know(past, labels)
    for each in past.frames:
        for rows, made in features.advance(*each):
            yield rows, [made[at] for at in features.source]
    for rows, made in features.end():
        yield rows, [made[at] for at in features.source]


def run(
    past: Past,
    sides: Sequence[Side],
    labels: Labels | None,
    bound: int,
    begin: int,
    end: int,
    told: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Run the rules of one or more sides over the past; `told` hears how many rows are done.

    Features are as `worked_out`; rules see the events from `begin` until before `end` (µs since
    1970).
    """
    collected = Collected(sides[0].stream, labels)
    failures: list[Counter[str]] = [Counter() for _ in sides]
    deciding = [side.deciding for side in sides]
    done = 0
    for rows, made in worked_out(past, sides, labels, bound):
        wanted = pl.Series(collected.add(rows, begin, end))
        if wanted.any():
            some: dict[int, pl.DataFrame] = {}
            scored: dict[tuple[int, str], pl.Series] = {}
            for at, side in enumerate(sides):
                # Sides that have their features in common have one frame.
                frame = some.setdefault(id(made[at]), filtered(made[at], wanted))
                model = side.stream.model
                if model is not None:
                    of = id(made[at]), model.card.definition
                    if of not in scored:
                        scored[of], _ = model.answer(frame)
                    scores = scored[of]
                    frame = frame.hstack([scores])
                    if at == 0:
                        collected.add_scores(scores)
                verdict = side.rules.evaluate(frame)
                found = live(verdict.alerts) if side.live else verdict.alerts
                collected.add_alerts(at, frame, found)
                decides = deciding[at]
                if decides is not None:
                    collected.add_decisions(at, decides.decide(frame, found))
                failures[at] += Counter(each.rule.id for each in verdict.failures)
        done += rows.height
        told(done)
    events, hits = collected.events()
    by_rule: list[dict[str, Hits]] = [
        {rule.id: hits.get((at, rule.id), Hits.none()) for rule in side.rules.rules}
        for at, side in enumerate(sides)
    ]
    decisions = {
        at: Decisions(events, *made, each.thresholds)
        for at, made in collected.decisions().items()
        if (each := deciding[at]) is not None
    }
    return Outcome(
        events,
        by_rule,
        failures,
        decisions,
        collected.unlabelled,
        collected.first,
        collected.last,
    )
