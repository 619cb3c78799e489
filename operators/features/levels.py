"""Levels: features that read other features are worked out behind these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from operators.features.feature import Feature, Source


def is_own(feature: Feature, source: Source) -> bool:
    """Tell whether a feature is of the events of its partition, by the topic's own key."""
    return feature.by[0] == source.key and feature.of_labels is None


@dataclass(frozen=True)
class Levels:
    """Features in the order in which they are worked out.

    `order` are those by the topic's own key, each behind those that it reads. `of` has the level
    of each, 0 where it reads none, and `columns` their types with those of code; `given` says of
    each what it reads, so that what is kept for it is not taken for something else. `left` are
    those by the topic's own key that read each other round and round, or what is worked out behind
    them.
    """

    order: tuple[Feature, ...]
    of: Mapping[str, int]
    columns: Mapping[str, pl.DataType]
    given: Mapping[str, str]
    left: frozenset[str]

    def given_for(self, feature: Feature) -> str:
        """Return what those features are that a feature reads; nothing if it reads none."""
        if feature.of_labels is not None:
            return ""
        read = sorted(feature.reads & self.given.keys())
        return "; ".join(f"{name} = {self.given[name]}" for name in read)


def in_levels(
    features: Sequence[Feature], source: Source, coded: Mapping[str, tuple[pl.DataType, str]]
) -> Levels:
    """Return the order of features; `coded` are columns of code, with what they are.

    A feature that reads what is none is in the order all the same: see `problem`.
    """
    pending = {each.name: each for each in features}
    order: list[Feature] = []
    of = dict.fromkeys(coded, 0)
    columns = {name: dtype for name, (dtype, _) in coded.items()}
    given = {name: text for name, (_, text) in coded.items()}
    found = Levels((), of, columns, given, frozenset())
    while ready := [
        each
        for each in pending.values()
        if is_own(each, source) and not each.reads & pending.keys()
    ]:
        for each in ready:
            of[each.name] = 1 + max((of[name] for name in each.reads if name in of), default=-1)
            text = found.given_for(each)
            given[each.name] = f"({each.definition}{f' given {text}' if text else ''})"
        there = {**source.columns, **columns}
        columns |= {
            each.name: each.result(there)
            for each in ready
            if each.of is None or each.of in there
        }
        order += ready
        for each in ready:
            del pending[each.name]
    left = {each.name for each in pending.values() if is_own(each, source)}
    return Levels(tuple(order), of, columns, given, frozenset(left))


def problem(feature: Feature, levels: Levels, features: Sequence[Feature]) -> str | None:
    """Return why a feature cannot read the features that it reads, None if it can."""
    if feature.of_labels is not None:
        return None
    others = {each.name for each in features} - levels.of.keys() - levels.left
    behind = sorted(feature.reads & others)
    if behind:
        return f"{behind[0]} is by another key or from labels, and known only behind this"
    if feature.name in levels.left:
        read = sorted(feature.reads & levels.left)
        return f"is made of itself, by way of {read[0]}" if read else None
    return None
