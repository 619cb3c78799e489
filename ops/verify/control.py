"""What a control topic has changed: lists that values were on, and rules by their times."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import polars as pl

from flows import control
from flows.decisions import reads_of
from flows.messages import pause_alerts
from flows.streams import Stream
from flows.tables import CONTROL, own_column
from operators.connectors.delta.definitions import History
from operators.control.pauses import Pauses
from operators.control.state import State, times_of
from operators.rules.lists import LISTED
from operators.rules.rules import RuleSet, Verdict
from ops.verify.report import Check, only_once
from ops.verify.since import Compared, since
from ops.verify.statuses import behind
from ops.verify.topics import PLACE

_PLACE = list(PLACE)


def check_listed(
    stream: Stream, state: State, told: History, topic: str, silver: pl.DataFrame
) -> Check:
    """Compare what lists silver's values were on with what the changes make of them.

    Rows from before lists were followed have nothing, and are left out.
    """
    text = " ".join(stream.lists)
    last = since(told.get(own_column(LISTED)), text, topic)
    rows = Compared({LISTED: last}).of(silver.with_columns(rule_id=pl.lit(LISTED)))
    expected = rows.select(_PLACE).hstack([state.listed(rows, stream.lists)])
    return only_once(
        f"{stream.silver.name}' lists are those that the control topic has changed by then",
        expected,
        rows.select(*_PLACE, LISTED),
        deleted=silver.height - rows.height,
    )


def pause_ids(stream: Stream, state: State | None, topic: str | None) -> pl.DataFrame:
    """Return the `id` of each alert that a rule has paused itself, by a stream's control topic."""
    pauses = Pauses()
    found = [each for each in state.changes if pauses.add(each)] if state else []
    return pause_alerts(found, topic or "", stream.alerts.columns).select(id="alert_id")


class Changed:
    """A stream's rules as a control topic has changed them, from where on it was followed."""

    def __init__(
        self, stream: Stream, rules: RuleSet, state: State, told: History, topic: str
    ) -> None:
        """Take the folder's rules, and what the table of alerts tells; `topic` is the stream's."""
        self.rules = rules.rules
        self._files, self._state = rules, state
        self._book = control.book_of(stream, rules, state)
        entries = told.get(CONTROL)
        self._last = entries[-1].written_of(topic) if entries else {}

    def evaluate(self, events: pl.DataFrame) -> Verdict:
        """Return what the rules find in silver, as the flow did."""
        followed = pl.Series(behind(events, self._last))
        before = self._files.evaluate(events.filter(~followed))
        after = self._book.evaluate(events.filter(followed))
        return Verdict(
            pl.concat([before.alerts, after.alerts]), [*before.failures, *after.failures]
        )

    def reads(self, alert: Mapping[str, Any]) -> Collection[str]:
        """Return which columns the rule of an alert has read, as it was at its time."""
        last = self._last.get(alert["source_partition"], -1)
        followed = alert["source_offset"] > last
        return reads_of(self._book if followed else self._files)(alert)

    def but_of_changed(
        self, do: Callable[[pl.DataFrame], pl.DataFrame], silver: pl.DataFrame
    ) -> Callable[[pl.DataFrame], pl.DataFrame]:
        """Return what does something with rows of the folder's rules alone.

        From when on those are as they are today, and with which status, their table tells; of
        changed ones the changes do.
        """
        times = silver.select(*_PLACE, "kafka_timestamp")

        def done(rows: pl.DataFrame) -> pl.DataFrame:
            found = rows.select(_PLACE).join(
                times, on=_PLACE, how="left", maintain_order="left"
            )
            mask = self._state.changed(rows["rule_id"], times_of(found))
            mask &= pl.Series(behind(rows, self._last))
            changed = rows.filter(mask)
            return pl.concat([do(rows.filter(~mask)).select(changed.columns), changed])

        return done
