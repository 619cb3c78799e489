"""Rules: events to alerts, and what a rule could not be evaluated on to rejects."""

from collections import Counter
from dataclasses import dataclass

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.decisions.decider import Decider
from operators.records.batches import Batch, merge
from operators.records.columns import REJECT_COLUMNS
from operators.records.tables import COORDINATES
from operators.rules.rules import Failure, Rules
from operators.steps.decisions import decided, expect


@dataclass(frozen=True)
class RulesOut:
    """Streams of `detect`: frames of `alert_columns`, of `decision_columns` and `REJECT_COLUMNS`.

    Of decisions there is none where nothing decides.
    """

    alerts: Stream[pl.DataFrame]
    rejects: Stream[pl.DataFrame]
    decisions: Stream[pl.DataFrame]


def _rejected(failures: list[Failure]) -> pl.DataFrame:
    """Return a row per failure; the event's bytes stand in bronze at the same offset."""
    rows = [
        failure.event.select(*COORDINATES, "kafka_timestamp").row(0, named=True)
        | {
            "stage": "rule",
            "code": f"rule_failed:{failure.rule.id}",
            "message": f"version {failure.rule.version} raised {failure.error}; "
            "the event itself is in silver, its bytes in bronze at the same offset",
        }
        for failure in failures
    ]
    return pl.DataFrame(rows, schema=REJECT_COLUMNS)


@operator
def detect(
    step_id: str, up: Stream[Batch], rules: Rules, decider: Decider | None = None
) -> RulesOut:
    """Evaluate the rules on every event, and decide on it if there is a decider."""

    def shim(batches: list[Batch]) -> list[tuple[str, pl.DataFrame]]:
        events = merge(batches)
        verdict = rules.evaluate(events)
        result = []
        if verdict.alerts.height:
            each = verdict.alerts.select("rule_id", "rule_status").iter_rows()
            for labels, count in Counter(each).items():
                metrics.ALERTS.labels(*labels).inc(count)
            result.append(("alert", verdict.alerts))
        if verdict.failures:
            for failure in verdict.failures:
                metrics.REJECTS.labels("rule", f"rule_failed:{failure.rule.id}").inc()
            result.append(("reject", _rejected(verdict.failures)))
        if decider is not None:
            decisions = decided(decider, events, verdict.alerts)
            if decisions.height:
                result.append(("decision", decisions))
        return result

    for rule in rules.rules:
        metrics.REJECTS.labels("rule", f"rule_failed:{rule.id}")
        metrics.RULES_PAUSED.labels(rule.id)
        metrics.RULE_SILENT.labels(rule.id)
        # A rollout has its rule in shadow for others.
        for status in {rule.status, "shadow" if rule.rollout else rule.status}:
            metrics.ALERTS.labels(rule.id, status)
    if decider is not None:
        expect()
    every = op.flat_map_batch("evaluate", up, shim)
    sides = op.branch("alert", every, lambda item: item[0] == "alert")
    # Also where nothing decides: Bytewax draws no port that may be missing.
    others = op.branch("decision", sides.falses, lambda item: item[0] == "decision")
    return RulesOut(
        op.map("alerts", sides.trues, lambda item: item[1]),
        op.map("rejects", others.falses, lambda item: item[1]),
        op.map("decisions", others.trues, lambda item: item[1]),
    )
