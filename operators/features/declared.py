"""The features of a stream, stated and coded, as one declaration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, get_args

import polars as pl

from operators.event_time.watermarks import Bounds
from operators.features.by_another import WOKEN, Question, as_stated, questions
from operators.features.compiled import Compiled, Layout
from operators.features.feature import Aggregate, Feature, Source
from operators.features.keeps import Former, Keeps, history_of, totals_of
from operators.features.levels import Levels, in_levels, is_own
from operators.features.partition import Coded, PartitionFeatures
from operators.records.tables import TIME

_ORDER: Final = {name: at for at, name in enumerate(get_args(Aggregate))}


def in_order(features: tuple[Feature, ...]) -> list[Feature]:
    """Return features in the order of their columns: within horizons first, shorter ones first."""
    return sorted(
        features,
        key=lambda f: (
            f.horizon is None,
            _ORDER[f.aggregate],
            f.of or "",
            f.horizon_us,
            f.name,
        ),
    )


def coded_columns(coded: Sequence[Coded]) -> dict[str, tuple[pl.DataType, str]]:
    """Return the columns of code, each with its type and what it is, in words."""
    return {
        name: (dtype, f"({each.name} {each.version})")
        for each in coded
        for name, dtype in each.columns.items()
    }


@dataclass(frozen=True)
class Features:
    """What is added to each event of a stream from those before it.

    `stated` are the stream's own and `added` those of whoever runs it; `coded` are what no
    declaration says. A state of version 2 was `former`.
    """

    source: Source
    stated: tuple[Feature, ...] = ()
    coded: tuple[Coded, ...] = ()
    added: tuple[Feature, ...] = ()
    former: Former | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.stated or self.coded or self.added)

    @property
    def all_stated(self) -> list[Feature]:
        """All that are data, in the order of their columns."""
        return [*in_order(self.stated), *in_order(self.added)]

    @property
    def by_another(self) -> list[Feature]:
        """Those that are by another key than the topic's, or from labels."""
        return [each for each in self.all_stated if not is_own(each, self.source)]

    @property
    def _own(self) -> list[Feature]:
        return [each for each in self.all_stated if is_own(each, self.source)]

    @cached_property
    def levels(self) -> Levels:
        """In which order those by the topic's own key are worked out."""
        return in_levels(self.all_stated, self.source, coded_columns(self.coded))

    @cached_property
    def _all(self) -> Source:
        """What those may read that are worked out last."""
        return self.source.having(self.levels.columns)

    @property
    def of_partitions(self) -> bool:
        """Whether there are any that a partition's own events make."""
        return bool(self._own or self.coded)

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What those by another key ask of its key groups."""
        return questions(self.by_another, self._all, self.levels.given_for)

    @property
    def labels(self) -> Source | None:
        """What labels have, where there are features from them; its key names their event."""
        of_labels = any(question.of_labels for question in self.questions)
        return self.source.labels if of_labels else None

    @property
    def marks(self) -> dict[str, pl.DataType]:
        """What is kept of each event besides, so that it can be judged again as it was."""
        return {WOKEN: TIME} if self.questions else {}

    @cached_property
    def _compiled(self) -> list[Compiled]:
        levels = self.levels
        return [
            Compiled.of(each, self._all, levels.of[each.name], levels.given_for(each))
            for each in self._own
        ]

    @cached_property
    def _layouts(self) -> list[Layout]:
        places = {(each.level, each.feature.by): None for each in self._compiled}
        # Code is of the stream's key, and reads no feature.
        first = [(0, (self.source.key,))] if self.coded else []
        order = dict.fromkeys([*first, *sorted(places, key=lambda place: place[0])])
        return [Layout.of(by, self._compiled, level) for level, by in order]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns, in the order of the table."""
        stated = {each.name: self._result(each) for each in in_order(self.stated)}
        added = {each.name: self._result(each) for each in in_order(self.added)}
        coded = {n: dtype for each in self.coded for n, dtype in each.columns.items()}
        return stated | coded | added

    def _result(self, feature: Feature) -> pl.DataType:
        labels = self.source.labels if feature.of_labels else None
        return feature.result((labels or self._all).columns)

    @cached_property
    def definitions(self) -> dict[str, str]:
        """What each is, by name: one that has changed, or reads one that has, has another text."""
        own = {each.name: each.definition for each in self._own}
        found = own | {each.name: as_stated(each) for each in self.by_another}
        stated = {}
        for each in self.all_stated:
            given = self.levels.given_for(each)
            text = f"{found[each.name]} given {given}" if given else found[each.name]
            stated[each.name] = f"{each.version}: {text}"
        return stated | {each.name: f"{each.version}: code" for each in self.coded}

    @cached_property
    def keeps(self) -> Keeps:
        """What a state of them says of itself, and what it must hold."""
        needs: dict[str, Mapping[str, int]] = {}
        for each in self._compiled:
            by, level = each.feature.by, each.level
            events, totals = history_of(by, level), totals_of(by, level)
            mine = needs[each.feature.name] = {}
            for part in each.parts:
                if part.horizon is None:
                    mine[f"{totals}: {part.column}"] = 0
                    continue
                mine[f"{events}: time"] = part.horizon.kept
                if part.fold != "count":
                    mine[f"{events}: {part.lane.name}"] = part.horizon.kept
        for code in self.coded:
            needs[code.name] = {
                f"{totals_of([self.source.key])}: {code.name} {code.version}": 0
            }
        others = {each.name for each in self.by_another}
        own = {n: text for n, text in self.definitions.items() if n not in others}
        return Keeps(own, needs, self.former)

    def make(self, out_of_orderness: int | Bounds) -> PartitionFeatures:
        """Return what works out a partition's own; the watermark's bound is in µs."""
        return PartitionFeatures(
            out_of_orderness, self._compiled, self._layouts, self.coded, self.keeps
        )
