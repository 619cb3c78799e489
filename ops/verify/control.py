"""What a control topic has changed: lists that values were on, and rules by their times."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from flows.streams import Stream
from flows.tables import own_column
from operators.connectors.delta.definitions import History
from operators.control.state import State, times_of
from operators.rules.lists import LISTED
from ops.verify.report import Check, only_once
from ops.verify.since import Compared, since
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


@dataclass(frozen=True)
class Changed:
    """Which rows are of rules that the control topic had changed when they were judged."""

    state: State
    silver: pl.DataFrame

    def apart(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return rows with `rule_id` and place: of the folder's rules, and of changed ones."""
        times = rows.select(_PLACE).join(
            self.silver.select(*_PLACE, "kafka_timestamp"),
            on=_PLACE, how="left", maintain_order="left",
        )  # fmt: skip
        mask = self.state.changed(rows["rule_id"], times_of(times))
        return rows.filter(~mask), rows.filter(mask)

    def but_of_changed(
        self, do: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> Callable[[pl.DataFrame], pl.DataFrame]:
        """Return what does something with those of the folder's rules alone.

        From when on those are as they are today, and with which status, their table tells; of
        changed ones the changes do.
        """

        def done(rows: pl.DataFrame) -> pl.DataFrame:
            files, changed = self.apart(rows)
            return pl.concat([do(files).select(changed.columns), changed])

        return done
