"""Compiled features: which lanes and folds they are made of, and how their values are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.features.feature import Feature, Source
from operators.features.lanes import TIMES, Lane, nullable, restored
from operators.state.folds import NONE, Ask, Fold, is_sum, summands, turned
from operators.state.sliding_history import Horizon
from operators.state.squares import DIGITS, deviations

_SECOND: Final = 1_000_000
_EACH: Final = Lane("count", "", "")


@dataclass(frozen=True, slots=True)
class Part:
    """A fold of a lane, over a horizon or over the whole past."""

    fold: Fold
    lane: Lane
    horizon: Horizon | None
    inclusive: bool = False

    @property
    def column(self) -> str:
        """What is kept of a key for it where there is no horizon."""
        if self.fold == "count":
            return "count"
        return self.lane.name if self.fold == "sum" else f"{self.fold} {self.lane.name}"


@dataclass(frozen=True)
class Compiled:
    """A feature and its parts: the one that it is, and for a mean how many values there are.

    For a standard deviation also the sums of digits that `deviations` takes.
    """

    feature: Feature
    dtype: pl.DataType
    parts: tuple[Part, ...]
    level: int = 0

    @classmethod
    def of(
        cls, feature: Feature, source: Source, level: int = 0, given: str = ""
    ) -> "Compiled":
        """Compile a feature that has no problems.

        `source` has the features that it may read, `given` says what those are that it does; they
        are of a lower `level`.
        """
        labels = feature.of_labels is not None
        if labels:
            assert source.labels is not None  # noqa: S101 # else it would have a problem
            source = source.labels
        of, where, aggregate = (
            feature.of or "",
            (feature.where or "").strip(),
            feature.aggregate,
        )
        span = Horizon(feature.horizon_us, feature.kept_us) if feature.horizon else None
        # Without a condition and nulls all events count: how many there are is known anyway.
        each = not where and of not in source.nullable
        number = (
            Part("count", _EACH, span)
            if each
            else Part("sum", Lane("count", of, where, given), span)
        )
        value = Lane("values", of, where, given)
        # Of labels those times are asked for at which there is one.
        time = (
            Lane("count", "", where, given)
            if labels
            else Lane("values", TIMES.of, where, given)
        )
        parts: tuple[Part, ...]
        match aggregate:
            case "count":
                parts = (number,)
            case "sum":
                parts = (Part("sum", Lane("sum", of, where, given), span),)
            case "mean":
                parts = (Part("sum", Lane("sum", of, where, given), span), number)
            case "stddev":
                lane = Lane("sum", of, where, given)
                of_digits = (Part(digit, lane, span) for digit in DIGITS)
                parts = (Part("sum", lane, span), number, *of_digits)
            case "share":
                # Of how many there are all count.
                every = Lane("count", "", "")
                all_ = Part("sum", every, span) if labels else Part("count", every, span)
                parts = (Part("sum", Lane("count", "", where, given), span), all_)
            case "min" | "max":
                parts = (Part(aggregate, value, span),)
            case "distinct":
                inclusive = feature.includes_itself
                parts = (Part("distinct", Lane("hash", of, where, given), span, inclusive),)
            case "first_time" | "seconds_since_first":
                parts = (Part("min", time, span),)
            case "last_time" | "seconds_since":
                parts = (Part("max", time, span),)
        return cls(feature, feature.result(source.columns), parts, level)

    def finish(
        self, found: Mapping[Part, Int64s], own: Mapping[Lane, Int64s], times: Int64s
    ) -> pl.Series:
        """Return its values, n of them, from those of its parts and the events' own."""
        name, aggregate = self.feature.name, self.feature.aggregate
        values = [self._whole(part, found[part], own) for part in self.parts]
        first = values[0]
        if aggregate in ("count", "sum", "distinct"):
            return pl.Series(name, first)
        if aggregate in ("mean", "share"):
            number = values[1]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = np.where(number > 0, first / number, np.nan)
            return nullable(name, mean, number == 0)
        if aggregate == "stddev":
            found_ = deviations(values[1], first, values[2], values[3:])
            return nullable(name, found_, values[1] < 2)
        unknown = first == NONE
        if self.parts[0].fold == "min":
            first = turned(first)
        if aggregate in ("seconds_since", "seconds_since_first"):
            since = np.maximum(times - np.where(unknown, times, first), 0) // _SECOND
            return nullable(name, since, unknown)
        return restored(name, first, unknown, self.dtype)

    def _whole(self, part: Part, found: Int64s, own: Mapping[Lane, Int64s]) -> Int64s:
        """Return a part's values with the present event's, if it is one of those that count."""
        if not self.feature.includes_itself or part.fold == "distinct":
            return found
        if part.fold == "count":
            return found + 1
        mine = own[part.lane]
        if is_sum(part.fold):
            return found + summands(mine, part.fold)
        return np.maximum(found, turned(mine) if part.fold == "min" else mine)


@dataclass(frozen=True)
class Layout:
    """The parts of all features of one `by` and level, as history and totals are asked for them."""

    by: tuple[str, ...]
    within: tuple[Part, ...]
    before: tuple[Part, ...]
    level: int = 0

    @classmethod
    def of(cls, by: tuple[str, ...], features: Sequence[Compiled], level: int = 0) -> "Layout":
        """Return the parts of those of the features that are by these columns, each once."""
        mine = [each for each in features if (each.feature.by, each.level) == (by, level)]
        parts = dict.fromkeys(p for each in mine for p in each.parts)
        return cls(
            by,
            tuple(part for part in parts if part.horizon),
            tuple(part for part in parts if not part.horizon),
            level,
        )

    @property
    def horizons(self) -> list[Horizon]:
        """The horizons, each once."""
        return list(dict.fromkeys(part.horizon for part in self.within if part.horizon))

    @property
    def asks(self) -> list[Ask]:
        """What a history is asked for, in the order of the parts within a horizon."""
        horizons = self.horizons
        return [
            Ask(
                horizons.index(part.horizon),
                part.fold,
                "" if part.fold == "count" else part.lane.name,
                part.inclusive,
            )
            for part in self.within
            if part.horizon
        ]

    @property
    def kept_lanes(self) -> list[Lane]:
        """The lanes that a history keeps."""
        lanes = dict.fromkeys(part.lane for part in self.within if part.fold != "count")
        return [lane for lane in lanes if lane != TIMES]

    @property
    def lanes(self) -> list[Lane]:
        """All lanes that are needed of each event."""
        parts = [*self.within, *self.before]
        return list(dict.fromkeys(part.lane for part in parts if part.fold != "count"))
