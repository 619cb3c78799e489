"""What features by another key than the topic's ask, and of which panes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from operators.columns.arrays import Int64s
from operators.features.by_another.panes import VALUE
from operators.features.compiled import Compiled, Part
from operators.features.feature import Feature, Source
from operators.features.lanes import Lane
from operators.state.folds import Ask

MINUTE: Final = 60_000_000
"""What the lag is beyond the out-of-orderness, unless one is stated; µs."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which panes are asked for: all times in µs; a `lag` of None is the default."""

    pane: int
    before: int
    kept: int
    lag: int | None

    def end(self, base: Int64s, lags: Int64s) -> Int64s:
        """Return before which pane's start it asks, shape (n,).

        `base` are the times that are asked for, `lags` the default ones.
        """
        asked = base - (lags if self.lag is None else self.lag)
        end: Int64s = asked // self.pane * self.pane
        return end

    def begin(self, end: Int64s, lags: Int64s, marks: Int64s) -> Int64s:
        """Return from which pane's start it asks that asks before `end`, shape (n,).

        `marks` are what the events' partitions had come to.
        """
        lags = lags if self.lag is None else np.full(len(end), self.lag)
        oldest = (marks - lags) // self.pane * self.pane - self.kept
        begun: Int64s = np.maximum(end - self.before, oldest)
        return begun

    def oldest(self, mark: int, lag: int) -> int:
        """Return the start before which no event asks whose partition has come to `mark`."""
        lag = lag if self.lag is None else self.lag
        return (mark - lag) // self.pane * self.pane - self.kept


def span_of(feature: Feature) -> Span:
    """Return which panes a feature asks for."""
    return Span(feature.pane_us, feature.horizon_us, feature.kept_us, feature.lag_us)


def as_stated(feature: Feature) -> str:
    """Return what the values of a feature by another key are a function of, in one line."""
    lag = "the out-of-orderness and a minute" if feature.lag is None else feature.lag_us
    parts = [
        f"{feature.aggregate}({feature.of or ''})",
        f"{'from labels ' if feature.of_labels else ''}by {', '.join(feature.by)}",
        f"within {feature.horizon_us} kept {feature.kept_us}",
        f"in panes of {feature.pane_us} as of {lag} before",
    ]
    parts += [f"where {feature.where.strip()}"] if feature.where else []
    return " ".join(parts)


@dataclass(frozen=True)
class Kept:
    """What the panes of a length keep of each key: sums and largest values, or what differs."""

    pane: int
    values: Lane | None = None

    @property
    def name(self) -> str:
        """Its name, which tells what it is."""
        what = "" if self.values is None else f" of {self.values.name}"
        return f"panes of {self.pane}{what}"


def column(part: Part) -> str:
    """Return what panes call what they keep for a part."""
    if part.fold == "distinct":
        return VALUE
    return part.lane.name if part.fold in ("count", "sum") else f"{part.fold} {part.lane.name}"


@dataclass(frozen=True)
class Question:
    """All that is asked by some columns: features, and what is to be kept for them.

    What is `of_labels` is asked of a log of these; what else there is, of panes.
    """

    by: tuple[str, ...]
    features: tuple[Compiled, ...]
    of_labels: bool = False
    spans: dict[Span, dict[Kept, list[Part]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, by: tuple[str, ...], features: Sequence[Compiled], *, of_labels: bool = False
    ) -> "Question":
        """Return what those of the features ask that are by these columns."""
        mine = [
            each
            for each in features
            if each.feature.by == by and bool(each.feature.of_labels) == of_labels
        ]
        made = cls(by, tuple(mine), of_labels)
        for each in made.features:
            span = span_of(each.feature)
            for part in each.parts:
                differ = part.lane if part.fold == "distinct" else None
                parts = made.spans.setdefault(span, {}).setdefault(Kept(span.pane, differ), [])
                if part not in parts:
                    parts.append(part)
        return made

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that are needed of each event."""
        return list(dict.fromkeys(part.lane for part in self.parts))

    @property
    def parts(self) -> list[Part]:
        """All parts."""
        kept = [each for spans in self.spans.values() for each in spans.values()]
        return list(dict.fromkeys(part for parts in kept for part in parts))

    @property
    def answers(self) -> dict[tuple[Span, Part], str]:
        """The names of the columns that answers have."""
        pairs = [
            (span, part)
            for span, kept in self.spans.items()
            for parts in kept.values()
            for part in parts
        ]
        return {pair: f"a{number}" for number, pair in enumerate(pairs)}

    def ends(self, base: Int64s, lags: Int64s) -> dict[Span, Int64s]:
        """Return each span's end, see `Span.end`: one array for all with the same."""
        found: dict[tuple[int, int | None], Int64s] = {}
        for span in self.spans:
            if (span.pane, span.lag) not in found:
                found[span.pane, span.lag] = span.end(base, lags)
        return {span: found[span.pane, span.lag] for span in self.spans}

    @property
    def keeps(self) -> dict[Kept, dict[str, Part]]:
        """What is kept, by column."""
        found: dict[Kept, dict[str, Part]] = {}
        for spans in self.spans.values():
            for kept, parts in spans.items():
                found.setdefault(kept, {}).update({column(part): part for part in parts})
        return found

    def kept_for(self, kept: Kept) -> list[Span]:
        """Return the spans that ask for what is kept."""
        return [span for span, spans in self.spans.items() if kept in spans]


def ask(part: Part) -> Ask:
    """Return what panes are asked for a part: of a min the values are turned round."""
    if part.fold in ("min", "max"):
        return Ask(0, "max", column(part))
    return Ask(0, "distinct" if part.fold == "distinct" else "sum", column(part))


def questions(
    features: Sequence[Feature], source: Source, given: Callable[[Feature], str] = lambda _: ""
) -> tuple[Question, ...]:
    """Return what features by other keys ask, a question for each of these keys.

    Those by a key from labels are another one. `given` says what those are that a feature reads.
    """
    compiled = [
        Compiled.of(each.model_copy(update={"inclusive": False}), source, given=given(each))
        for each in features
    ]
    by = dict.fromkeys((each.by, each.of_labels is not None) for each in features)
    return tuple(Question.of(each, compiled, of_labels=labels) for each, labels in by)


def ask_labels(part: Part, horizon: int) -> Ask:
    """Return what a log of labels is asked for a part of a span, `horizon` in their order."""
    return Ask(horizon, "sum" if part.fold == "count" else part.fold, part.lane.name)
