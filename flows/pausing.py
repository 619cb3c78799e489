"""Pausing: a live rule that alerts more often than its bounds allow pauses itself.

One that alerts less often than they say goes on, and an error in the log tells that it is silent.

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
from operators.control.hit_rates import HitRates
from operators.control.pauses import AUTHOR, LEFT
from operators.errors import KnownError
from operators.rules.rule import Rule

LOG: Final = logging.getLogger("millstream.control")


class Pausing:
    """Counts what rules find, and sends the pause of one that has left its bounds."""

    def __init__(self, settings: Settings, topic: str, reader: ControlReader) -> None:
        self._settings, self._topic, self._reader = settings, topic, reader
        self._rates = HitRates()
        self._lock = threading.Lock()

    def judged(self, rules: Sequence[Rule], events: pl.DataFrame, alerts: pl.DataFrame) -> None:
        """Count events by the rules that held for them; pauses are sent by a thread."""
        if not any(each.bounds for each in rules):
            return
        now = time.time_ns() // 1000
        with self._lock:
            left = list(self._rates.add(rules, events, alerts, now))
        for each in left:
            if each.silent:
                # A pause would take away what little it finds, and tell nobody anything new.
                LOG.error("rule %s goes on, and is silent: %s", each.rule.id, each.why)
            elif self._holds(each.rule, now):
                threading.Thread(
                    target=self._pause, args=(each.rule, each.why), daemon=True
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
