"""Pausing: a live rule that alerts more often than its bounds allow pauses itself.

One that alerts less often than they say goes on: an error in the log and a metric tell that it is
silent, also where nothing follows a control topic.

When that is only the clock can say, and how events are shared among processes; so the pause is a
change in the control topic, as any other: it holds from its time on, in a replay as well. Whoever
sends alerts reads it there, and sends one that says so.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

import polars as pl

from flows.settings import Settings
from flows.told import told
from operators import metrics
from operators.connectors.kafka import control_topic
from operators.connectors.kafka.control_reader import ControlReader
from operators.control.changes import written
from operators.control.hit_rates import HitRates, Left
from operators.control.pauses import AUTHOR, LEFT
from operators.errors import KnownError
from operators.rules.rule import Rule

LOG: Final = logging.getLogger("millstream.control")


class Silence:
    """Counts what rules find, and tells which of them have gone silent."""

    def __init__(self) -> None:
        self._rates = HitRates()
        self._lock = threading.Lock()
        self._shown: set[str] = set()

    def judged(self, rules: Sequence[Rule], events: pl.DataFrame, alerts: pl.DataFrame) -> None:
        """Count events by the rules that held for them."""
        if not (self._shown or any(each.bounds for each in rules)):
            return
        now = time.time_ns() // 1000
        with self._lock:
            left = list(self._rates.add(rules, events, alerts, now))
            silent = {each.id for each in rules if self._rates.silent(each)}
            # One that is paused or another by now is no silent rule.
            for rule in silent ^ self._shown:
                metrics.RULE_SILENT.labels(rule).set(rule in silent)
            self._shown = silent
        for each in left:
            if each.silent:
                # A pause would take away what little it finds, and tell nobody anything new.
                LOG.error("rule %s goes on, and is silent: %s", each.rule.id, each.why)
            else:
                self._too_many(each, now)

    def _too_many(self, left: Left, now: int) -> None:
        """Take a rule that alerts too often: without a control topic nothing can pause it."""


class Pausing(Silence):
    """Counts as well, and sends the pause of a rule that alerts too often, by a thread."""

    def __init__(self, settings: Settings, topic: str, reader: ControlReader) -> None:
        super().__init__()
        self._settings, self._topic, self._reader = settings, topic, reader

    def _too_many(self, left: Left, now: int) -> None:
        if self._holds(left.rule, now):
            threading.Thread(
                target=self._pause, args=(left.rule, left.why), daemon=True
            ).start()

    def _holds(self, rule: Rule, now: int) -> bool:
        """Tell whether a rule still holds, and no pause of it has been sent."""
        state = self._reader.state
        spans = state.rules.get(rule.id)
        if not spans:
            return True
        held, newest = state.rules_at(now).get(rule.id), spans[-1].change.content
        if held is not None and held.change.content not in (None, rule):
            return False
        return not (isinstance(newest, Rule) and newest.status == "paused")

    def _pause(self, rule: Rule, why: str) -> None:
        paused = rule.model_copy(update={"status": "paused"})
        who = f"{AUTHOR}{told().process}"
        metrics.RULES_PAUSED.labels(rule.id).inc()
        LOG.error("rule %s is paused, as its alerts are %s", rule.id, why)
        record = written("rule", rule.id, paused, who, f"{LEFT}{why}")
        timeout = self._settings.start_timeout.total_seconds()
        try:
            control_topic.send(self._settings.kafka, self._topic, [record], timeout)
        except KnownError as error:
            LOG.error("rule %s is not paused: %s", rule.id, error)
