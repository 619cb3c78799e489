"""The alerts, and what rules failed on: the rules evaluated anew on silver."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import polars as pl

from flows.streams import Stream
from operators.rules.rules import Rules
from ops.verify.control import Changed
from ops.verify.report import Check, only_once
from ops.verify.since import Compared
from ops.verify.statuses import Statuses
from ops.verify.topics import PLACE

_PLACE: Final = list(PLACE)
_NO_FAILURES: Final = pl.DataFrame(schema={**PLACE, "rule_id": pl.String()})


def check_alerts(
    stream: Stream,
    rules: Rules,
    compared: Compared,
    were: Statuses,
    silver: pl.DataFrame,
    alerts: pl.DataFrame,
    rejects: pl.DataFrame,
) -> list[Check]:
    """Compare the alerts and the rejects of rules with what silver's rows make them.

    Those of rules as they were before, which `compared` leaves out, are counted; `were` knows the
    statuses that rules have had.
    """
    comparable: Callable[[pl.DataFrame], pl.DataFrame] = compared.of
    as_told: Callable[[pl.DataFrame], pl.DataFrame] = were.of
    if isinstance(rules, Changed):
        comparable = rules.but_of_changed(comparable, silver)
        as_told = rules.but_of_changed(as_told, silver)
    repeated = alerts.group_by("alert_id").len("times").filter(pl.col("times") > 1)
    verdict = rules.evaluate(silver)
    failed = rejects.filter(pl.col("stage") == "rule").select(
        *_PLACE, "code", rule_id=pl.col("code").str.strip_prefix("rule_failed:")
    )
    failures = [
        each.event.select(*_PLACE, rule_id=pl.lit(each.rule.id)) for each in verdict.failures
    ]
    expected = comparable(pl.concat([_NO_FAILURES, *failures])).select(
        *_PLACE, code="rule_failed:" + pl.col("rule_id")
    )
    mine = comparable(alerts)
    equal = only_once(
        f"{stream.alerts.name} equals the rules on silver, row for row",
        were.without_unwritten(as_told(comparable(verdict.alerts))),
        were.without_unwritten(mine),
        deleted=alerts.height - mine.height,
    )
    return [
        Check.of(f"no id is twice in {stream.alerts.name}", alerts.height, repeated),
        replace(equal, because="made by rules as they were before"),
        only_once(
            f"every {stream.record} that a rule failed on is in {stream.quarantine.name}, once",
            expected,
            comparable(failed).drop("rule_id"),
        ),
    ]
