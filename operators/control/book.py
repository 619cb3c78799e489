"""The book of rules: a folder's, and what a control topic has changed of them, by time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from operators.columns.frames import filtered, stacked
from operators.control.state import State, times_of
from operators.rules.rule import Rule
from operators.rules.rules import RuleSet, Verdict

Judged = Callable[[Sequence[Rule], pl.DataFrame, pl.DataFrame], None]
"""Takes rules, events, and the alerts that they have raised of these."""

_KEPT: Final = 64


class Book:
    """Evaluates each event by the rules that held at its Kafka time."""

    def __init__(
        self,
        rules: Sequence[Rule],
        state: Callable[[], State],
        columns: Mapping[str, pl.DataType],
        id_column: str,
        key_column: str,
        judged: Judged = lambda *_: None,
    ) -> None:
        """Take the folder's rules; else as `RuleSet`.

        `state` gives what is known, at least to the times of the events that are evaluated.
        `judged` hears of events what rules held for them and what these have found. Raises
        RuleError as `RuleSet` does.
        """
        self._base = {each.id: each for each in rules}
        self._state, self._judged = state, judged
        self._common = columns, id_column, key_column
        self._made: dict[tuple[tuple[str, int], ...], RuleSet] = {}
        self.rules = self._set(()).rules
        """Those of the folder that are evaluated."""

    def at(self, time: int) -> RuleSet:
        """Return the rules that hold at a time, in µs."""
        return self._at(self._state(), time)

    def _at(self, state: State, time: int) -> RuleSet:
        held = state.rules_at(time)
        changed = {name: each.change for name, each in held.items()}
        known = tuple(
            (name, each.content)
            for name, each in sorted(changed.items())
            if isinstance(each.content, Rule)
        )
        return self._set(known)

    def _set(self, changed: tuple[tuple[str, Rule], ...]) -> RuleSet:
        # Rules are kept by the state, so that none takes another's place in memory.
        name = tuple((each, id(rule)) for each, rule in changed)
        if name not in self._made:
            if len(self._made) >= _KEPT:
                self._made.clear()
            rules = sorted((self._base | dict(changed)).values(), key=lambda each: each.id)
            self._made[name] = RuleSet([r for r in rules if r.evaluated], *self._common)
        return self._made[name]

    def evaluate(self, events: pl.DataFrame) -> Verdict:
        """Return the alerts of events, as `RuleSet` does, each by the rules of its time."""
        state = self._state()
        times = times_of(events)
        if not events.height or not len(state.rule_cuts):
            return self._evaluate(self._set(()), events)
        places = np.searchsorted(state.rule_cuts, times, side="right")
        first, *others = np.unique(places).tolist()
        if not others:
            return self._evaluate(self._at(state, int(times[0])), events)
        verdicts = []
        for place in (first, *others):
            mine = places == place
            time = int(times[np.argmax(mine)])
            rows = filtered(events, pl.Series(mine))
            verdicts.append(self._evaluate(self._at(state, time), rows))
        alerts = stacked(each.alerts for each in verdicts)
        order = ["source_partition", "source_offset", "rule_id"]
        return Verdict(alerts.sort(order), [f for each in verdicts for f in each.failures])

    def _evaluate(self, rules: RuleSet, events: pl.DataFrame) -> Verdict:
        verdict = rules.evaluate(events)
        self._judged(rules.rules, events, verdict.alerts)
        return verdict
