"""Statuses: which of a table's alerts were live, by what it tells of their rules' statuses."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import polars as pl

from flows.tables import own_column, rule, status
from operators.columns.arrays import Bools
from operators.connectors.delta.definitions import History, Told
from operators.rules.rule import OWN_COLUMNS
from operators.rules.status import LIVE, statuses

_ID: Final = re.compile(r"(\w+)@\d+/[^/]+/(\d+)/(\d+)")


class Statuses:
    """The statuses of rules from row to row; what is told of none was always live."""

    def __init__(self, told: History, topic: str, key: str) -> None:
        """Take what the table of alerts tells; `key` is the column that they are keyed by."""
        self._told, self._topic, self._key = told, topic, key

    def of(self, alerts: pl.DataFrame) -> pl.DataFrame:
        """Return alerts of today's rules with the statuses that these had when they came."""
        parts = [self._of_rule(name, rows) for (name,), rows in alerts.group_by("rule_id")]
        return pl.concat(parts) if parts else alerts

    def _of_rule(self, name: object, alerts: pl.DataFrame) -> pl.DataFrame:
        known = statuses(LIVE, str(name), alerts[self._key])
        for _, text, last in self._changes(str(name)):
            now = statuses(text, str(name), alerts[self._key])
            known = now.zip_with(pl.Series(behind(alerts, last)), known)
        return alerts.with_columns(known.alias("rule_status"))

    def _changes(self, name: str) -> Iterator[tuple[str, str, Mapping[int, int]]]:
        """Yield each status with the one before it and the last offsets that had that one."""
        before = LIVE
        for each in self._told.get(status(name), ()):
            now = each.text or LIVE
            yield before, now, each.written_of(self._topic)
            before = now

    def without_unwritten(self, alerts: pl.DataFrame) -> pl.DataFrame:
        """Return alerts with nulls where the release that wrote them may have known no column."""
        for name in OWN_COLUMNS:
            entries = self._told.get(own_column(name)) or [Told(None)]
            written = behind(alerts, entries[-1].of(self._topic))
            if entries[-1].text is None:
                written[:] = False
            value = pl.when(pl.Series(written)).then(pl.col(name))
            alerts = alerts.with_columns(value.alias(name))
        return alerts

    def was_live(self, alert_id: str) -> bool:
        """Tell whether an alert may have been sent before its rule was live for it no more.

        That was in an epoch that a crash ended: the table has its row with the new status.
        """
        found = _ID.fullmatch(alert_id)
        if found is None:
            return False
        name, partition, offset = found[1], int(found[2]), int(found[3])
        return any(
            before.startswith(LIVE) and now != LIVE and offset > last.get(partition, -1)
            for before, now, last in self._changes(name)
            if self._was_there(name, last)
        )

    def _was_there(self, name: str, last: Mapping[int, int]) -> bool:
        """Tell whether a rule was evaluated before a change of its status."""
        first = next(iter(self._told.get(rule(name), ())), None)
        return first is not None and first.written_of(self._topic) != last


def sent(alerts: pl.DataFrame) -> pl.DataFrame:
    """Return those of a table's alerts that are sent; rows without a status are older than it."""
    return alerts.filter(pl.col("rule_status").fill_null(LIVE) == LIVE)


def behind(rows: pl.DataFrame, last: Mapping[int, int]) -> Bools:
    """Tell which rows come after the last offsets by partition."""
    ends = np.array([last.get(p, -1) for p in rows["source_partition"]], np.int64)
    found: Bools = rows["source_offset"].to_numpy() > ends
    return found
