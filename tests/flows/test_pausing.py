"""A rule that has gone silent is told, and goes on."""

import logging
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from flows.control import evaluated
from flows.pausing import Pausing, Silence
from operators import metrics
from operators.records.tables import TIME
from operators.rules.rule import Rule
from operators.rules.rules import RuleSet
from tests.operators.control.test_hit_rates import frame
from tests.operators.rules.samples import rule

QUIET = rule(bounds={"least_per_1000": 300, "over": "5m", "at_least": 4})


def test_a_silent_rule_is_no_reason_for_a_change(caplog: pytest.LogCaptureFixture) -> None:
    class Nobody:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name}: nothing is to be asked or changed")

    nobody: Any = Nobody()
    pausing = Pausing(nobody, "control", nobody)
    now = time.time_ns() // 1000
    with caplog.at_level(logging.ERROR, logger="millstream.control"):
        for minutes in ([1, 1, 1], [7, 7, 7, 8], [8, 9]):
            pausing.judged([QUIET], frame(minutes, now), frame([], now))
    (said,) = (each.getMessage() for each in caplog.records)
    assert said == ("rule r goes on, and is silent: 0 of 4 within 5m, fewer than 300 of 1,000")
    assert shown() == 1


def shown(rule: str = "r") -> float:
    return float(metrics.RULE_SILENT.labels(rule)._value.get())


def test_the_metric_is_1_while_the_rule_that_holds_is_silent() -> None:
    silence, now = Silence(), time.time_ns() // 1000

    def judge(rules: list[Rule], events: list[int], hits: list[int]) -> float:
        silence.judged(rules, frame(events, now), frame(hits, now))
        return shown()

    metrics.RULE_SILENT.labels("r").set(0)
    assert judge([QUIET], [1, 1, 1, 7, 7, 7, 8], []) == 1
    # Two of nine are still too few, and three of ten are enough.
    assert judge([QUIET], [8, 8, 8], [8, 8]) == 1
    assert judge([QUIET], [8], [8, 8]) == 0
    assert judge([QUIET], [14, 14, 14, 14], []) == 1
    # Somebody has paused it, or it is another by now, which nobody has counted yet.
    assert judge([], [14], []) == 0
    assert judge([QUIET], [14], []) == 1
    assert judge([QUIET.model_copy()], [14], []) == 0


COLUMNS = {
    "source_topic": pl.String(), "source_partition": pl.Int32(), "source_offset": pl.Int64(),
    "kafka_timestamp": TIME, "payment_id": pl.String(), "event_time": TIME,
    "card_id": pl.String(), "amount_minor": pl.Int64(),
}  # fmt: skip


@pytest.mark.parametrize(("backfill", "silent"), [(None, 1), ("tables", 0)])
def test_rules_are_counted_without_a_control_topic_too_and_not_in_a_backfill(
    backfill: str | None, silent: float
) -> None:
    least = QUIET.model_copy(
        update={"id": "least", "when": "amount_minor > 10", "reason": "much"}
    )
    stream: Any = SimpleNamespace(columns=COLUMNS, id="payment_id", key="card_id")
    settings: Any = SimpleNamespace(backfill_from=backfill)
    rules = RuleSet([least], COLUMNS, stream.id, stream.key)
    metrics.RULE_SILENT.labels("least").set(0)
    held = evaluated(settings, stream, rules, None)
    assert held is not None
    now = datetime.now(UTC)
    for minute in (0, 6):
        at = datetime(2026, 3, 1, 12, minute, tzinfo=UTC)
        rows = [("t", 0, n, now, f"{n}", at, "c", 1) for n in range(4)]
        verdict = held.evaluate(pl.DataFrame(rows, COLUMNS, orient="row"))
        assert not verdict.alerts.height
    assert shown("least") == silent
    # Nothing is counted where no rule asks for it.
    plain = RuleSet(
        [least.model_copy(update={"bounds": None})], COLUMNS, "payment_id", "card_id"
    )
    settings.backfill_from = None
    assert evaluated(settings, stream, plain, None) is plain
