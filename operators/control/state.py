"""State: all changes that are known, and what holds of them at a time."""

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.control.changes import Change, Entry, Kind, Span, micros_of, spans
from operators.control.membership import Membership
from operators.rules.rule import Rule


def times_of(frame: pl.DataFrame) -> Int64s:
    """Return the Kafka time by which each row is judged, in µs; 0 where it has none."""
    times = frame["kafka_timestamp"].to_physical()
    found: Int64s = (times.fill_null(0) if times.null_count() else times).to_numpy()
    return found


class State:
    """What is known of a control topic, in its order; never changed once it is made."""

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.changes = tuple(changes)

    def with_changes(self, more: Collection[Change]) -> "State":
        """Return the state with further changes, which came behind those that there are."""
        return State((*self.changes, *more)) if more else self

    def made(self) -> "State":
        """Return the state with all made that events are looked up in, which takes a while."""
        _ = self.rule_cuts, self._thresholds, self._membership, self._begun
        return self

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """From when to when each change holds."""
        return tuple(spans(self.changes))

    @cached_property
    def rules(self) -> dict[str, list[Span]]:
        """The spans of each rule that was ever changed, the first ones first."""
        return self._named("rule")

    @cached_property
    def rule_cuts(self) -> Int64s:
        """When some rule changes, sorted, in µs."""
        begins = {each.begins for found in self.rules.values() for each in found}
        return np.array(sorted(begins), np.int64)

    @cached_property
    def _thresholds(self) -> dict[str, list[Span]]:
        return self._named("threshold")

    def _named(self, kind: str) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        for each in self.spans:
            if each.change.kind == kind:
                found.setdefault(each.change.name, []).append(each)
        return found

    @cached_property
    def _membership(self) -> Membership:
        found = (
            (each.change.content, each.begins, each.ends)
            for each in self.spans
            if isinstance(each.change.content, Entry)
        )
        return Membership(
            (entry.column, entry.value, entry.item, begins, min(ends, micros_of(entry.expires)))
            for entry, begins, ends in found
        )

    def rules_at(self, time: int) -> dict[str, Span]:
        """Return the change of each rule that holds at a time, in µs, by the rule's id."""
        return {
            name: each
            for name, found in self.rules.items()
            for each in found
            if each.begins <= time < each.ends
        }

    def changed(self, rule_ids: pl.Series, times: Int64s) -> pl.Series:
        """Tell for each rule's id and time, in µs, whether that rule is not the folder's then."""
        mask = np.zeros(len(times), np.bool_)
        for name, found in self.rules.items():
            mine = (rule_ids == name).to_numpy()
            for each in found:
                if isinstance(each.change.content, Rule):
                    mask |= mine & (times >= each.begins) & (times < each.ends)
        return pl.Series(mask)

    def listed(self, frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
        """Return what lists each row's values are on, by its Kafka time; see `LISTED`.

        Looked at are those of the `columns`, which are texts.
        """
        return self._membership.of(frame, columns, times_of(frame))

    @cached_property
    def _begun(self) -> dict[Kind, tuple[Int64s, Int64s]]:
        """By kind, in the order of time when changes begin to hold, in µs, and their offsets."""
        found: dict[Kind, list[tuple[int, int]]] = {}
        for each in self.spans:
            mine = found.setdefault(each.change.kind, [])
            mine.append((each.begins, each.change.offset))
        made = {kind: np.array(sorted(each), np.int64) for kind, each in found.items()}
        return {kind: (each[:, 0].copy(), each[:, 1].copy()) for kind, each in made.items()}

    def newest(self, kind: Kind, times: Int64s) -> pl.Series:
        """Return the offset of the change of a kind that last began to hold at each time, in µs.

        Null where none has. What changes of that kind have come to is the same at all times of
        which it is the same.
        """
        begins, offsets = self._begun.get(kind, (np.empty(0, np.int64),) * 2)
        if not len(begins):
            return pl.Series([None], dtype=pl.Int64()).new_from_index(0, len(times))
        places = np.searchsorted(begins, times, side="right") - 1
        found = pl.Series(offsets[np.maximum(places, 0)], dtype=pl.Int64())
        return found if (places >= 0).all() else found.set(pl.Series(places < 0), None)

    def threshold(self, name: str, times: pl.Series, default: float) -> pl.Series:
        """Return a threshold at each time; `default` where none holds."""
        us = times.to_physical().fill_null(0).to_numpy()
        values = np.full(len(us), default, np.float64)
        for each in self._thresholds.get(name, ()):
            if isinstance(each.change.content, float):
                values[(us >= each.begins) & (us < each.ends)] = each.change.content
        return pl.Series(name, values)
